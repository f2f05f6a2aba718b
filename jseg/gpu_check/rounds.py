"""Runs the checks in rounds within a time limit, prints their outcomes, and writes the report."""

import contextlib
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from jseg.gpu_check.checks import CHECKS
from jseg.gpu_check.job import Job, Outcome, in_words
from jseg.gpu_check.processes import Processes
from jseg.gpu_check.training import make_data

ROUNDS = (
    (("build",), 0.4),
    (("kernels",), 0.7),
    (("operators", "tests", "golden", "training", "ranks"), 0.85),
    (("speed",), 1.0),
)
"""Stages that run in parallel, and the share of the time limit at which they must have ended."""


def check(names: Sequence[str], dry: bool, out: Path | None, limit: float) -> int:
    """Runs the named checks in rounds within `limit` seconds, prints them, and returns 0 if all passed."""
    start, report = time.monotonic(), {}
    with tempfile.TemporaryDirectory(prefix="jseg-gpu-check-") as folder, _pool() as (pool, processes):
        work, trains = Path(folder), {"training", "ranks"} & set(names)
        data = pool.submit(make_data, processes, work, start + limit) if trains else Future()
        for stages, part in ROUNDS:
            job = Job(dry, processes, start + part * limit, work, data, alone=len(stages) == 1)
            running = {pool.submit(_run, name, job): name for name in stages if name in names}
            for future in as_completed(running):
                name, (outcome, seconds) = running[future], future.result()
                _print(name, outcome, seconds)
                report[name] = {
                    "passed": outcome.passed,
                    "seconds": seconds,
                    "failures": list(outcome.failures),
                    "not_compared": list(outcome.missing),
                    "details": outcome.details,
                }
                if out:
                    out.write_text(json.dumps(report, indent=1) + "\n")
    _print_summary(report, dry, time.monotonic() - start)
    return 0 if all(stage["passed"] for stage in report.values()) else 1


@contextlib.contextmanager
def _pool() -> Iterator[Any]:
    """Opens a pool of threads that wait for processes, and ends both with the block."""
    processes = Processes()
    with ThreadPoolExecutor(max_workers=16) as pool:
        try:
            yield pool, processes
        finally:
            processes.close()  # the threads wait for them, and the pool for the threads


def _run(name: str, job: Job) -> Any:
    """Runs a check and returns (outcome, seconds). An exception counts as a failure of this check only."""
    began = time.monotonic()
    try:
        outcome = CHECKS[name](job)
    except Exception as error:
        outcome = Outcome([], {}, [in_words(error)])
    return outcome, time.monotonic() - began


def _print(name: str, outcome: Outcome, seconds: float) -> None:
    print(f"{'passed' if outcome.passed else 'FAILED'}  {name} ({seconds:.0f} s)", flush=True)
    for line in [*outcome.lines, *(f"failed: {failure}" for failure in outcome.failures)]:
        print(f"        {line}", flush=True)


def _print_summary(report: dict[str, Any], dry: bool, seconds: float) -> None:
    """Prints the failures, the missing comparisons, and a verdict that names both."""
    for name, stage in report.items():
        for failure in stage["failures"]:
            print(f"FAILED        {name}: {failure}")
        for missing in stage["not_compared"]:
            print(f"not compared  {name}: {missing}")
    failed = [name for name, stage in report.items() if not stage["passed"]]
    missing = [
        f"{name} ({entry.split(':')[0]})" for name, stage in report.items() for entry in stage["not_compared"]
    ]
    verdict = f"FAILED: {', '.join(failed)}" if failed else "passed"
    print(
        f"{'dry run ' if dry else ''}{verdict} after {seconds:.0f} s"
        + (f"; not compared: {', '.join(missing)}" if missing else ""),
        flush=True,
    )
