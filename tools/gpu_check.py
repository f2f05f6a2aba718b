"""Proves on a machine with an NVIDIA GPU that jseg computes there what it computes elsewhere, and how fast.

    python tools/gpu_check.py [--out gpu_check.json]

One command for a fresh machine: finds CUDA, builds Jittor and all kernels, compares operators in float32,
TF32 and bfloat16 with float64, runs the tests of the operators in these formats, compares golden vectors,
trains ZeroShapes for 200 steps beside the recorded curve of a processor, trains on two processes that share
the GPU, and prints pictures a second, also of the same layers in PyTorch if this Python, or the one that
JSEG_TORCH_PYTHON names, has it. All else it needs is in the repository. Nearly all of the time is nvcc.

The whole ends within 480 seconds (--limit), whatever happens: a stage that runs out of time is ended with
everything that it started. Stages that fail do not stop the others; what is done is printed, and written, at
once. The last lines say what failed and what was not compared. Exit status 0 if all passed, 1 if not, 2
without a usable GPU.

--dry-run goes through the same stages on the processor, with small sizes: it tests this script, not a GPU.
"""

import argparse
import contextlib
import json
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tools")]

from gpu_check_checks import CHECKS, Job, Outcome, in_words, make_data
from gpu_check_processes import Processes

from jseg.runtime.command import exit_status, prove_writable
from jseg.runtime.cuda.report import cuda_lines
from jseg.runtime.selection import select_device

LIMIT_SECONDS = 480
ROUNDS = (
    (("build",), 0.4),
    (("kernels",), 0.7),
    (("operators", "tests", "golden", "training", "ranks"), 0.85),
    (("speed",), 1.0),
)
"""Stages that run at once, and when they must have ended, as a part of the limit: the rest is kept for later
ones."""


def check(names: Sequence[str], dry: bool, out: Path | None, limit: float) -> int:
    """Runs checks of these names within `limit` seconds, a round at a time, and prints them; 0 if all
    passed."""
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
    """Threads that wait for processes, and these processes; none of them outlives what the block ends
    with."""
    processes = Processes()
    with ThreadPoolExecutor(max_workers=16) as pool:
        try:
            yield pool, processes
        finally:
            processes.close()  # the threads wait for them, and the pool for the threads


def _run(name: str, job: Job) -> Any:
    """(outcome, seconds) of a check; what it raises is a failure of it alone."""
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
    """What failed, what was not compared, and last the verdict with the names of both."""
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


def main(argv: list[str] | None = None) -> int:
    """0 if all passed, 1 if something failed, 2 without a usable GPU or for a bad option."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="small sizes on the processor, to test this script"
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=CHECKS,
        default=list(CHECKS),
        metavar="STAGE",
        help=f"run these stages alone: {', '.join(CHECKS)}",
    )
    parser.add_argument(
        "--limit",
        type=float,
        default=LIMIT_SECONDS,
        metavar="SECONDS",
        help=f"time for all stages (default {LIMIT_SECONDS}); fewer than 16 cores may need more",
    )
    parser.add_argument("--out", type=Path, metavar="PATH", help="also write all results to this JSON file")
    arguments = parser.parse_args(argv)
    with _ended_in_order():
        return exit_status(lambda: start(arguments))


@contextlib.contextmanager
def _ended_in_order() -> Iterator[None]:
    """SIGTERM ends this program as Ctrl-C does: processes that it started are ended first."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def start(arguments: argparse.Namespace) -> int:
    """Looks for a GPU and runs the checks; the exit status.

    Raises:
        ValueError: no usable GPU. OSError: the report cannot be written.
    """
    began = time.monotonic()
    if arguments.out:
        prove_writable(arguments.out)
    if not arguments.dry_run:
        for line in cuda_lines():
            print(f"{line.name:10} {line.text}", flush=True)
        try:
            select_device("cuda")
        except ValueError as error:
            raise ValueError(
                f"this machine has no usable GPU ({error}); --dry-run tests the script on the processor"
            ) from error
    left = arguments.limit - (time.monotonic() - began)
    return check(arguments.only, arguments.dry_run, arguments.out, left)


if __name__ == "__main__":
    sys.exit(main())
