"""Checks that train a model: against a recorded curve, and on two processes that share the GPU."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jseg.gpu_check.job import Job, Outcome, at_once
from jseg.gpu_check.processes import ROOT, Processes, StageFailed, last_error
from jseg.runtime.environment import find_mpicc

CURVE = ROOT / "tests" / "golden" / "zeroshapes_curve.json"
CURVE_TOLERANCES = {"float32": 0.002, "bfloat16": 0.05}
"""Largest relative difference of the mean loss of 20 steps from the recorded curve. On a CPU, kernels that
add in another order moved it by 0.0001, and operands rounded to bfloat16 by 0.026."""

WINDOW = 20
RANK_STEPS = 20
RANK_TOLERANCE = 1e-4
"""Largest relative difference of a step's loss between two processes and one. On a CPU, 50 steps stay within
1e-5."""


def check_training(job: Job) -> Outcome:
    """Trains 200 steps on ZeroShapes without dropout, and compares the losses with a curve from a CPU."""
    recorded = json.loads(CURVE.read_text())["total"]
    curves, failures = at_once(
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
                f"{precision}: losses differ by {100 * difference:.2f} % from the recorded ones, allowed "
                f"{100 * CURVE_TOLERANCES[precision]:g} %"
            )
    return Outcome(lines, curves, failures)


def make_data(processes: Processes, folder: Path, until: float) -> str:
    """Writes the ZeroShapes data that the curve was recorded on, and returns its folder.

    This does not need Jittor, so it can run first.
    """
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
    """Trains, with files in the folder `name`, and returns the total loss of each step.

    Raises:
        StageFailed: if the training stopped early.
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
    """Returns the largest relative difference of means over `window` steps, or infinity for NaN losses."""
    differences = []
    for start in range(0, len(curve) - window + 1, window):
        ours, theirs = (sum(values[start : start + window]) / window for values in (curve, recorded))
        differences.append(abs(ours - theirs) / abs(theirs))
    return max(differences) if all(value == value for value in curve) else float("inf")


def check_ranks(job: Job) -> Outcome:
    """Checks that two processes on one GPU train like one, and that NCCL adds in a single process.

    NCCL needs a GPU for each process.
    """
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
    changes = {"use_mpi": ""}  # jseg sets it in this process, which has no ranks
    runs: dict[str, Callable[[], Any]] = {
        "one process": lambda: train(job, "one", RANK_STEPS, "float32"),
        "two processes": lambda: train(job, "two", RANK_STEPS, "float32", [*mpirun, "2"], changes),
        "NCCL": lambda: job.results("stages", "nccl", launcher=[*mpirun, "1"], changes=changes)[-1],
    }
    done, failures = at_once(lambda name: runs[name](), list(runs))
    lines, missing = [], []
    if "one process" in done and "two processes" in done:
        difference = curve_difference(done["two processes"], done["one process"], window=1)
        lines.append(f"two processes: {RANK_STEPS} steps, losses within {difference:.1e} of those of one")
        if not difference <= RANK_TOLERANCE:
            failures.append(
                f"two processes: losses differ by {difference:.1e} from those of one process, allowed "
                f"{RANK_TOLERANCE:.0e}"
            )
    if "NCCL" in done and done["NCCL"]["nccl"]:
        lines.append("NCCL: a sum over one process")
        failures += [f"NCCL: {entry}" for entry in done["NCCL"]["failed"]]
    elif "NCCL" in done:
        missing.append("NCCL: this machine has no NCCL or no GPU")
    return Outcome(lines, done, failures, missing)
