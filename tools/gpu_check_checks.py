"""What each stage of `tools/gpu_check.py` runs, and when its results pass."""

import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from gpu_check_processes import Processes, StageFailed, last_error, results
from gpu_check_speed import CUDA_KERNELS, SETTINGS, SMALL_SETTINGS

from jseg.runtime.device import PRECISION_VARIABLE, PRECISIONS, VARIABLE
from jseg.runtime.environment import find_mpicc
from jseg.runtime.machine import usable_cores

ROOT = Path(__file__).resolve().parents[1]
CURVE = ROOT / "tests" / "golden" / "zeroshapes_curve.json"
CURVE_TOLERANCES = {"float32": 0.002, "bfloat16": 0.05}
"""Largest relative difference of the mean loss of any 20 steps from the recorded curve. On a processor,
kernels that add in another order moved it by 0.0001, operands rounded to bfloat16 by 0.026."""

WINDOW = 20
RANK_STEPS = 20
RANK_TOLERANCE = 1e-4
"""Largest relative difference of a step's loss on two processes from one. On a processor 50 steps stay within
1e-5."""

SPEED_PRECISIONS = ("bfloat16", "float32")
PROCESSOR_SHARE = 0.01
"""Of a training step's operators that may run on the processor of a machine with a GPU."""

DEVICE_TESTS = "tests/ops/test_cuda_device.py"
SIDE_BY_SIDE = 8
"""Processes that compute at the same moment while stages run at once; the others wait for the GPU or for
nvcc."""

MOST_LINES = 5


class Outcome(NamedTuple):
    """Lines to print, what goes into the report, what failed, and what could not be compared ("thing:
    why")."""

    lines: list[str]
    details: dict[str, Any]
    failures: Sequence[str] = ()
    missing: Sequence[str] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing failed."""
        return not self.failures


@dataclass(frozen=True)
class Job:
    """What a check needs: dry runs are small and on the processor; all must be over at `until`
    (`time.monotonic`).

    folder: for files, its own. data: the future path of ZeroShapes. alone: no other check runs meanwhile.
    """

    dry: bool
    processes: Processes
    until: float
    folder: Path
    data: "Future[str]"
    alone: bool = True

    def run(
        self, command: Sequence[str], precision: str = "float32", changes: Mapping[str, str] | None = None
    ) -> str:
        """The output of a program for the device of this check; raises StageFailed."""
        changes = {
            VARIABLE: "cpu" if self.dry else "cuda",
            PRECISION_VARIABLE: precision,
            "PYTHONPATH": str(ROOT),
            **({} if self.alone else {"OMP_NUM_THREADS": str(max(1, usable_cores() // SIDE_BY_SIDE))}),
            **(changes or {}),
        }
        return self.processes.run(command, changes, self.until)

    def results(
        self,
        program: str,
        *arguments: str,
        precision: str = "float32",
        python: str = sys.executable,
        launcher: Sequence[str] = (),
        changes: Mapping[str, str] | None = None,
        expected: int = 1,
    ) -> list[dict[str, Any]]:
        """What a program of `tools/` prints as results; raises StageFailed, with them, where fewer are
        there."""
        command = [
            *launcher,
            python,
            str(ROOT / "tools" / program),
            *arguments,
            *(["--small"] if self.dry else []),
        ]
        output = self.run(command, precision, changes)
        found = results(output)
        if len(found) < expected:
            raise StageFailed(last_error(output), found)
        return found

    def stage(self, name: str, precision: str = "float32") -> dict[str, Any]:
        """The result of a stage of `gpu_check_stages.py`; raises StageFailed."""
        return self.results("gpu_check_stages.py", name, precision=precision)[-1]


def check_build(job: Job) -> Outcome:
    """Jittor imports and computes on the device."""
    result, wanted = job.stage("import"), "cpu" if job.dry else "cuda"
    failures = [] if result["kind"] == wanted else [f"Jittor computes on {result['device']}, not on {wanted}"]
    return Outcome([f"{result['device']}: {result['seconds']:.0f} s"], result, failures)


def check_kernels(job: Job) -> Outcome:
    """Nearly all that later stages compute with is compiled, 16 at a time; they would do it one by one."""
    result = job.stage("kernels")
    return Outcome([f"{result['built']} operators built: {result['seconds']:.0f} s"], result)


def check_operators(job: Job) -> Outcome:
    """Errors of single operators in each precision."""
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
    """The tests of the CUDA kernels, and those of all operators in each precision."""
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

    done, failures = _at_once(work, list(runs))
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
    """Recorded outputs of the released code in each precision."""
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


def check_training(job: Job) -> Outcome:
    """200 steps on ZeroShapes, without dropout, beside the recorded losses of a processor."""
    recorded = json.loads(CURVE.read_text())["total"]
    curves, failures = _at_once(
        lambda precision: train(job, precision, len(recorded), precision),
        ["float32"] if job.dry else list(CURVE_TOLERANCES),
    )
    lines = []
    for precision, curve in curves.items():
        difference = curve_difference(curve, recorded)
        lines.append(
            f"{precision:9} loss {curve[0]:.4f} -> {curve[-1]:.4f} (recorded {recorded[0]:.4f} -> "
            f"{recorded[-1]:.4f}); means of {WINDOW} steps differ by {100 * difference:.2f} % at most"
        )
        if not difference <= CURVE_TOLERANCES[precision]:
            failures.append(
                f"{precision}: losses differ by {100 * difference:.2f} % from those recorded, allowed "
                f"{100 * CURVE_TOLERANCES[precision]:g} %"
            )
    return Outcome(lines, curves, failures)


def make_data(processes: Processes, folder: Path, until: float) -> str:
    """The ZeroShapes that the curve was recorded on; its folder. Needs no Jittor, so that it can go first."""
    data = folder / "data"
    processes.run(
        [
            sys.executable,
            "tools/make_zeroshapes.py",
            "--out",
            str(data),
            *json.loads(CURVE.read_text())["data"],
        ],
        {"PYTHONPATH": str(ROOT)},
        until,
    )
    return str(data)


def train(
    job: Job,
    name: str,
    steps: int,
    precision: str,
    launcher: Sequence[str] = (),
    changes: Mapping[str, str] | None = None,
) -> list[float]:
    """The total loss of each step; its files go to a folder `name`.

    Raises:
        StageFailed: the training broke off.
    """
    work_dir, options = job.folder / name, json.loads(CURVE.read_text())["options"]
    output = job.run(
        [
            *launcher,
            sys.executable,
            "tools/run_net.py",
            "--config",
            "configs/clip_rc/zeroshapes_inductive.py",
            "--work-dir",
            str(work_dir),
            "--set",
            f"max_iters={steps}",
            f"data_root={job.data.result()}",
            *options,
        ],
        precision,
        changes,
    )
    log = work_dir / "log.jsonl"
    curve = [json.loads(line)["total"] for line in log.read_text().splitlines()] if log.is_file() else []
    if len(curve) != steps:
        raise StageFailed(f"{len(curve)} of {steps} steps: {last_error(output)}")
    return curve


def curve_difference(curve: Sequence[float], recorded: Sequence[float], window: int = WINDOW) -> float:
    """Largest relative difference between means of `window` steps; infinite where a loss is not finite."""
    differences = []
    for start in range(0, len(curve) - window + 1, window):
        ours, theirs = (sum(values[start : start + window]) / window for values in (curve, recorded))
        differences.append(abs(ours - theirs) / abs(theirs))
    return max(differences) if all(value == value for value in curve) else float("inf")


def check_ranks(job: Job) -> Outcome:
    """Two processes share the GPU and train like one; NCCL, which wants a GPU for each process, adds up in
    one."""
    mpicc = find_mpicc()
    if mpicc.path is None:
        raise StageFailed(mpicc.note)
    mpirun = [
        str(mpicc.path.with_name("mpirun")),
        "--allow-run-as-root",
        "--oversubscribe",
        "--bind-to",
        "none",
        "-n",
    ]
    changes = {"use_mpi": ""}  # set here, where there are no ranks
    runs: dict[str, Callable[[], Any]] = {
        "one process": lambda: train(job, "one", RANK_STEPS, "float32"),
        "two processes": lambda: train(job, "two", RANK_STEPS, "float32", [*mpirun, "2"], changes),
        "NCCL": lambda: job.results("gpu_check_stages.py", "nccl", launcher=[*mpirun, "1"], changes=changes)[
            -1
        ],
    }
    done, failures = _at_once(lambda name: runs[name](), list(runs))
    lines, missing = [], []
    if "one process" in done and "two processes" in done:
        difference = curve_difference(done["two processes"], done["one process"], window=1)
        lines.append(f"two processes: {RANK_STEPS} steps, losses within {difference:.1e} of those of one")
        if not difference <= RANK_TOLERANCE:
            failures.append(
                f"two processes: losses differ by {difference:.1e} from one, allowed {RANK_TOLERANCE:.0e}"
            )
    if "NCCL" in done and done["NCCL"]["nccl"]:
        lines.append("NCCL: a sum over one process")
        failures += [f"NCCL: {entry}" for entry in done["NCCL"]["failed"]]
    elif "NCCL" in done:
        missing.append("NCCL: this machine has none, or no GPU")
    return Outcome(lines, done, failures, missing)


def check_speed(job: Job) -> Outcome:
    """Pictures a second and memory, beside the same layers in PyTorch where that is installed."""
    ours, failures = _in_turn(job, "gpu_check_speed.py", sys.executable)
    theirs, problems = _in_turn(job, "gpu_check_torch.py", torch_python())
    lines = [
        (
            f"{'setting':12}{'batch':>6}{'precision':>11}{'train/s':>10}{'infer/s':>10}{'GPU MiB':>10}"
            f"{'PyTorch: train/s':>18}{'infer/s':>10}{'GPU MiB':>10}"
        )
    ]
    for precision, rows in ours.items():
        others = {row["setting"]: row for row in theirs.get(precision, [])}
        for row in rows:
            lines.append(
                f"{row['setting']:12}{row['batch']:6}{precision:>11}{_speeds(row, 10)}"
                f"{_speeds(others.get(row['setting']), 18)}"
            )
    for precision, rows in ours.items():
        for row in rows:
            lines.append(f"{row['setting']:12}{precision:>17}  {_step_line(row['step'], job.dry)}")
            if not job.dry:
                failures += [f"{precision}: {row['setting']}: {problem}" for problem in step_problems(row)]
    return Outcome(
        lines,
        {"jseg": ours, "torch": theirs},
        failures,
        [f"PyTorch: {problem} ({torch_python()})" for problem in problems],
    )


def _in_turn(job: Job, program: str, python: str) -> tuple[dict[str, Any], list[str]]:
    """Rows of each precision, one after the other; of a process that broke off, those that it had printed."""
    done, problems, settings = {}, [], SMALL_SETTINGS if job.dry else SETTINGS
    for precision in SPEED_PRECISIONS[-1:] if job.dry else SPEED_PRECISIONS:
        try:
            done[precision] = job.results(program, precision=precision, python=python, expected=len(settings))
        except StageFailed as error:
            done[precision] = error.results
            problems.append(f"{precision}: {error}")
    return done, problems


def step_problems(row: Mapping[str, Any]) -> list[str]:
    """Why the training step of a setting is not as it should be on a GPU."""
    step, problems = row["step"], []
    if step["processor_share"] > PROCESSOR_SHARE:
        problems.append(
            f"{100 * step['processor_share']:.0f} % of a training step run on the processor: "
            f"{', '.join(step['on_processor'][:MOST_LINES])}"
        )
    idle = [name for name in CUDA_KERNELS if not step["shares"][name]]
    if idle and row["cuda_kernels"]:
        problems.append(f"kernels that did not run: {', '.join(idle)}")
    return problems


def _step_line(step: Mapping[str, Any], dry: bool) -> str:
    shares = ", ".join(f"{name} {100 * share:.1f} %" for name, share in step["shares"].items() if share)
    strays = [] if dry else step["on_processor"]
    return (
        f"operators of a training step {step['milliseconds']:.0f} ms: {shares or 'none of our kernels'}"
        + (f"; ON THE PROCESSOR: {', '.join(strays[:MOST_LINES])}" if strays else "")
    )


def _speeds(row: Mapping[str, Any] | None, first: int) -> str:
    if row is None:
        return f"{'-':>{first}}{'-':>10}{'-':>10}"
    memory = f"{row['gpu_memory_mb']:.0f}" if row["gpu_memory_mb"] else "-"
    return f"{row['train']:{first}.2f}{row['infer']:10.2f}{memory:>10}"


def torch_python() -> str:
    """The Python that has PyTorch: JSEG_TORCH_PYTHON, else this one."""
    return os.environ.get("JSEG_TORCH_PYTHON") or sys.executable


def _in_each_precision(job: Job, name: str) -> tuple[dict[str, Any], list[str]]:
    return _at_once(lambda precision: job.stage(name, precision), PRECISIONS[:1] if job.dry else PRECISIONS)


def _at_once(work: Callable[[str], Any], names: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Results of `work` by name, from processes side by side, and in words what those that failed said."""
    done, failures = {}, []
    with ThreadPoolExecutor(len(names)) as pool:
        futures = {name: pool.submit(work, name) for name in names}
        for name, future in futures.items():
            try:
                done[name] = future.result()
            except Exception as error:
                failures.append(f"{name}: {in_words(error)}")
    return done, failures


def in_words(error: Exception) -> str:
    """What went wrong: a stage's own words, or with the kind of an error that none foresaw."""
    return str(error) if isinstance(error, StageFailed) else f"{type(error).__name__}: {error}"


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
