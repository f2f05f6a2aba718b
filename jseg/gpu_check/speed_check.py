"""The speed check: images per second, the operators of a training step, and PyTorch for comparison."""

import os
import sys
from collections.abc import Mapping
from typing import Any

from jseg.gpu_check.job import MOST_LINES, Job, Outcome
from jseg.gpu_check.processes import StageFailed
from jseg.gpu_check.settings import SETTINGS, SMALL_SETTINGS
from jseg.gpu_check.speed import CUDA_KERNELS

SPEED_PRECISIONS = ("bfloat16", "float32")
MAX_CPU_SHARE = 0.01
"""Share of a training step's operators that may run on the CPU of a machine with a GPU."""


def check_speed(job: Job) -> Outcome:
    """Measures images per second and memory, and the same layers in PyTorch where it is installed."""
    ours, failures = _in_turn(job, "speed", sys.executable)
    theirs, problems = _in_turn(job, "pytorch", torch_python())
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
    """Returns the rows of each precision, one after the other.

    Of a process that stopped early, these are the rows that it had printed.
    """
    done, problems, settings = {}, [], SMALL_SETTINGS if job.dry else SETTINGS
    for precision in SPEED_PRECISIONS[-1:] if job.dry else SPEED_PRECISIONS:
        try:
            done[precision] = job.results(program, precision=precision, python=python, expected=len(settings))
        except StageFailed as error:
            done[precision] = error.results
            problems.append(f"{precision}: {error}")
    return done, problems


def step_problems(row: Mapping[str, Any]) -> list[str]:
    """Lists what is wrong with the training step of a setting on a GPU."""
    step, problems = row["step"], []
    if step["cpu_share"] > MAX_CPU_SHARE:
        problems.append(
            f"{100 * step['cpu_share']:.0f} % of a training step run on the CPU: "
            f"{', '.join(step['on_cpu'][:MOST_LINES])}"
        )
    idle = [name for name in CUDA_KERNELS if not step["shares"][name]]
    if idle and row["cuda_kernels"]:
        problems.append(f"kernels that did not run: {', '.join(idle)}")
    return problems


def _step_line(step: Mapping[str, Any], dry: bool) -> str:
    shares = ", ".join(f"{name} {100 * share:.1f} %" for name, share in step["shares"].items() if share)
    strays = [] if dry else step["on_cpu"]
    return (
        f"operators of a training step {step['milliseconds']:.0f} ms: {shares or 'none of our kernels'}"
        + (f"; ON THE CPU: {', '.join(strays[:MOST_LINES])}" if strays else "")
    )


def _speeds(row: Mapping[str, Any] | None, first: int) -> str:
    if row is None:
        return f"{'-':>{first}}{'-':>10}{'-':>10}"
    memory = f"{row['gpu_memory_mb']:.0f}" if row["gpu_memory_mb"] else "-"
    return f"{row['train']:{first}.2f}{row['infer']:10.2f}{memory:>10}"


def torch_python() -> str:
    """Returns the Python that has PyTorch: JSEG_TORCH_PYTHON, or else this one."""
    return os.environ.get("JSEG_TORCH_PYTHON") or sys.executable
