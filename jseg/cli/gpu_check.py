"""Check the results and the speed of jseg on an NVIDIA GPU.

    python tools/gpu_check.py [--out gpu_check.json]

One command for a fresh machine: finds CUDA, builds Jittor and all kernels, compares operators in float32,
TF32 and bfloat16 with float64, runs the tests of the operators in these formats, compares golden vectors,
trains ZeroShapes for 200 steps and compares with the recorded curve of a CPU, trains with two processes that
share the GPU, and prints images per second, also of the same layers in PyTorch if this Python, or the one
named by JSEG_TORCH_PYTHON, has it. The repository contains everything else that is needed. Nearly all of the
time is spent in nvcc.

The check ends within 480 seconds (--limit) in any case: a stage that runs out of time is ended together with
everything it started. Failed stages do not stop the others. Results are printed and written as soon as a
stage is done. The last lines list failures and omitted comparisons. The exit status is 0 if all stages
passed, 1 if not, 2 without a usable GPU.

--dry-run runs the same stages on the CPU with small sizes, to test this script.
"""

import argparse
import contextlib
import signal
import sys
import threading
import time
from collections.abc import Iterator

from jseg.files import expanded
from jseg.gpu_check.checks import CHECKS
from jseg.gpu_check.processes import ROOT
from jseg.gpu_check.rounds import check
from jseg.runtime.command import exit_status, prove_writable
from jseg.runtime.cuda.report import cuda_lines
from jseg.runtime.selection import select_device

LIMIT_SECONDS = 480


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dry-run", action="store_true", help="small sizes on the CPU, to test this script")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=CHECKS,
        default=list(CHECKS),
        metavar="STAGE",
        help=f"run only these stages: {', '.join(CHECKS)}",
    )
    parser.add_argument(
        "--limit",
        type=float,
        default=LIMIT_SECONDS,
        metavar="SECONDS",
        help=f"time limit for all stages (default {LIMIT_SECONDS}); fewer than 16 cores may need more",
    )
    parser.add_argument(
        "--out", type=expanded, metavar="PATH", help="also write all results to this JSON file"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Returns 0 if all stages passed, 1 if one failed, 2 without a usable GPU or for a bad option."""
    arguments = make_parser().parse_args(argv)
    with _ended_in_order():
        return exit_status(lambda: start(arguments))


@contextlib.contextmanager
def _ended_in_order() -> Iterator[None]:
    """Makes SIGTERM end this program as Ctrl-C does, so that processes that it started are ended first."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def start(arguments: argparse.Namespace) -> int:
    """Looks for a GPU, runs the checks and returns the exit status.

    Raises:
        ValueError: if there is no usable GPU. OSError: if this is not a clone, or the report cannot be
            written.
    """
    began = time.monotonic()
    if not (ROOT / "tests" / "golden").is_dir():
        raise FileNotFoundError(
            f"{ROOT}: the tests, which are part of the check, are missing; use the jseg of a clone of the "
            "repository"
        )
    if arguments.out:
        prove_writable(arguments.out)
    if not arguments.dry_run:
        for line in cuda_lines():
            print(f"{line.name:10} {line.text}", flush=True)
        try:
            select_device("cuda")
        except ValueError as error:
            raise ValueError(
                f"this machine has no usable GPU ({error}); --dry-run tests the script on the CPU"
            ) from error
    left = arguments.limit - (time.monotonic() - began)
    return check(arguments.only, arguments.dry_run, arguments.out, left)
