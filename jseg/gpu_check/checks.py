"""The checks of `tools/gpu_check.py` by name, each with the stages it runs and the conditions to pass."""

import sys
from collections.abc import Callable
from typing import Any

from jseg.gpu_check.job import MOST_LINES, Job, Outcome, at_once
from jseg.gpu_check.speed_check import check_speed
from jseg.gpu_check.training import check_ranks, check_training
from jseg.runtime.device import PRECISIONS

DEVICE_TESTS = "tests/ops/test_cuda_device.py"


def check_build(job: Job) -> Outcome:
    """Checks that Jittor imports and computes on the device."""
    result, wanted = job.stage("import"), "cpu" if job.dry else "cuda"
    failures = [] if result["kind"] == wanted else [f"Jittor computes on {result['device']}, not on {wanted}"]
    return Outcome([f"{result['device']}: {result['seconds']:.0f} s"], result, failures)


def check_kernels(job: Job) -> Outcome:
    """Compiles nearly all operators of the later stages, 16 at a time instead of one by one."""
    result = job.stage("kernels")
    return Outcome([f"{result['built']} operators built: {result['seconds']:.0f} s"], result)


def check_operators(job: Job) -> Outcome:
    """Checks the errors of single operators in each precision."""
    done, failures = _in_each_precision(job, "ops")
    lines = [f"{'largest relative error':24}" + "".join(f"{precision:>12}" for precision in done)]
    for name in next(iter(done.values()), {"errors": ()})["errors"]:
        lines.append(f"{name:24}" + "".join(f"{result['errors'][name]:12.1e}" for result in done.values()))
    lines.append(f"{'tolerance':24}" + "".join(f"{result['tolerance']:12.0e}" for result in done.values()))
    failures += [
        f"{precision}: {name} {result['errors'][name]:.1e}, allowed {result['tolerance']:.0e}"
        for precision, result in done.items()
        for name in result["failed"]
    ]
    return Outcome(lines, done, failures)


def check_tests(job: Job) -> Outcome:
    """Runs the tests of the CUDA kernels, and the tests of all operators in each precision."""
    runs = {
        f"{precision}: tests/ops": (precision, ["tests/ops", f"--ignore={DEVICE_TESTS}"])
        for precision in PRECISIONS
    }
    runs[DEVICE_TESTS] = ("float32", [DEVICE_TESTS])
    if job.dry:
        runs = {"float32: tests/ops/test_basic_ops.py": ("float32", ["tests/ops/test_basic_ops.py"])}

    def work(name: str) -> str:
        precision, chosen = runs[name]
        return job.run(
            [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-rfEs",
                "--tb=line",
                "--maxfail=20",
                "-p",
                "no:cacheprovider",
                *chosen,
            ],
            precision,
        )

    done, failures = at_once(work, list(runs))
    lines: list[str] = []
    for name, output in done.items():
        printed = output.strip().splitlines() or ["no output"]
        summary = printed[-1].strip("= ")
        failed = [f"{name}: {line}" for line in printed if line.startswith(("FAILED", "ERROR"))]
        if not failed and (" passed" not in summary or " failed" in summary or " error" in summary):
            failed = [f"{name}: {summary}"]
        failures += failed
        lines += [f"{name}: {summary}", *(f"  {line}" for line in printed if line.startswith("SKIPPED"))]
    return Outcome(lines, {"outputs": done}, failures)


def check_golden(job: Job) -> Outcome:
    """Compares outputs with those recorded from the released code, in each precision."""
    done, failures = _in_each_precision(job, "golden")
    lines = []
    for precision, result in done.items():
        for name, case in result["cases"].items():
            within = f"{case['quantities'] - len(case['failed'])} of {case['quantities']} within tolerance"
            lines.append(
                f"{precision:9} {name:9} {within}, worst output {case['worst_output']:.1e}, "
                f"worst gradient {case['worst_gradient']:.1e}"
            )
            failures += _shortened([f"{precision}: {name}: {entry}" for entry in case["failed"]])
    return Outcome(lines, done, failures)


def _in_each_precision(job: Job, name: str) -> tuple[dict[str, Any], list[str]]:
    return at_once(lambda precision: job.stage(name, precision), PRECISIONS[:1] if job.dry else PRECISIONS)


def _shortened(entries: list[str]) -> list[str]:
    left = len(entries) - MOST_LINES
    return entries if left <= 0 else [*entries[:MOST_LINES], f"and {left} more"]


CHECKS: dict[str, Callable[[Job], Outcome]] = {
    "build": check_build,
    "kernels": check_kernels,
    "operators": check_operators,
    "tests": check_tests,
    "golden": check_golden,
    "training": check_training,
    "ranks": check_ranks,
    "speed": check_speed,
}
