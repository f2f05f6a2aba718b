"""Shared parts of the operator benchmarks: workers that take turns, medians, peak memory and tables.

Each contender is a separate process that reads one job per line (JSON) and answers with seconds or bytes. So
PyTorch is not needed in jseg's environment, and contenders do not share memory. Only one of them works at a
time.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from jseg.runtime.command import exit_status, prove_writable

CONTENDERS = ("fused", "plain", "torch")
JSEG_WORKER, TORCH_WORKER = HERE / "worker_jseg.py", HERE / "worker_torch.py"


class Case(NamedTuple):
    """One workload.

    Attributes:
        name: name in the table.
        job: job that the workers read.
        flops: operations of the forward and of the backward pass.
        plain: False where the plain version would not fit into memory or would take minutes.
    """

    name: str
    job: dict
    flops: Sequence[float] = (0.0, 0.0)
    plain: bool = True


class Contender:
    """A worker process named 'fused', 'plain' (JSEG_FUSED=0) or 'torch'."""

    def __init__(self, name: str, torch_python: str | None) -> None:
        self.name = name
        self.command = (
            [torch_python, str(TORCH_WORKER)] if name == "torch" else [sys.executable, str(JSEG_WORKER)]
        )
        self.environment = {**os.environ, "JSEG_FUSED": "0" if name == "plain" else "1"}
        self.process = self._start()

    def _start(self) -> subprocess.Popen:
        pipe = subprocess.PIPE
        try:
            return subprocess.Popen(self.command, env=self.environment, stdin=pipe, stdout=pipe, text=True)
        except OSError as problem:
            raise ValueError(
                f"--torch-python: {self.command[0]} cannot be started ({problem.strerror}); give a Python "
                "that has PyTorch"
            ) from None

    def _ask(self, process: subprocess.Popen, job: dict) -> dict:
        try:
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
        except BrokenPipeError:  # the process has ended, and so has its output
            pass
        for line in process.stdout:  # Jittor also prints messages about compilation
            if line.startswith("ANSWER "):
                return json.loads(line[len("ANSWER ") :])
        advice = (
            "--torch-python must name a Python that has PyTorch"
            if self.name == "torch"
            else "its error message is above"
        )
        raise ValueError(f"the worker {' '.join(self.command)} ended with status {process.wait()}; {advice}")

    def seconds(self, job: dict) -> list[float]:
        """Returns the [forward, backward] seconds of one call."""
        time.sleep(0.1)  # until the threads of the previous contender have stopped spinning
        return self._ask(self.process, job)["seconds"]

    def peak(self, job: dict) -> int:
        """Returns the bytes that the forward and backward passes take beyond inputs, in a fresh process."""
        process = self._start()
        try:
            return self._ask(process, {**job, "memory": True})["bytes"]
        finally:
            process.stdin.close()
            process.wait()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


class Row(NamedTuple):
    """One measured line, with the median milliseconds and, if requested, the peak MiB of each contender."""

    case: str
    direction: str
    milliseconds: dict[str, float]
    gflops: float
    mebibytes: dict[str, float]


def measure(
    cases: Sequence[Case], runs: int, torch_python: str | None, memory_of: Sequence[str]
) -> list[Row]:
    """Runs the contenders in turn, `runs` times, after one call of each to compile and warm up."""
    names = CONTENDERS if torch_python else CONTENDERS[:2]
    contenders = [Contender(name, torch_python) for name in names]
    rows = []
    for case in cases:
        taking_part = [c for c in contenders if case.plain or c.name != "plain"]
        times = {c.name: [] for c in taking_part}
        for run in range(runs + 1):
            for contender in taking_part:
                seconds = contender.seconds(case.job)
                if run:
                    times[contender.name].append(seconds)
        peaks = {c.name: c.peak(case.job) / 2**20 for c in taking_part} if case.name in memory_of else {}
        for i, direction in enumerate(("forward", "backward")):
            median = {name: 1000 * statistics.median(t[i] for t in each) for name, each in times.items()}
            rows.append(Row(case.name, direction, median, case.flops[i] / median["fused"] / 1e6, peaks))
            print(line(rows[-1]), flush=True)
    for contender in contenders:
        contender.close()
    return rows


HEADING = (
    "| case | direction | fused ms | plain ms | torch ms | plain / fused | torch / fused | GFLOP/s | "
    "peak MiB fused, plain, torch |\n|---|---|---:|---:|---:|---:|---:|---:|---|"
)


def line(row: Row) -> str:
    """Formats one line of the Markdown table, with – where nothing was measured."""
    ms = row.milliseconds

    def number(value: float | None, form: str) -> str:
        return format(value, form) if value else "–"

    ratios = [number(ms[name] / ms["fused"] if name in ms else None, ".2f") for name in ("plain", "torch")]
    times = [number(ms.get(name), ".2f") for name in CONTENDERS]
    peaks = ", ".join(number(row.mebibytes.get(name), ".0f") for name in CONTENDERS) if row.mebibytes else "–"
    cells = [row.case, row.direction, *times, *ratios, number(row.gflops, ".0f"), peaks]
    return "| " + " | ".join(cells) + " |"


def main(
    description: str, cases: dict[str, list[Case]], memory_of: Sequence[str], arguments: Sequence[str]
) -> int:
    """Runs the command line of a benchmark whose cases come in named groups."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--runs", type=int, default=7, help="measured runs of each contender (default 7)")
    parser.add_argument("--torch-python", help="Python that has PyTorch (default: PyTorch is left out)")
    parser.add_argument(
        "--groups",
        nargs="+",
        choices=sorted(cases),
        default=list(cases),
        help="groups of cases (default: all)",
    )
    parser.add_argument(
        "--no-memory", action="store_true", help="skip peak memory, which takes one process per case"
    )
    parser.add_argument("--out", type=Path, help="also write the rows to this JSON file")
    options = parser.parse_args(arguments)
    if options.runs < 1:
        parser.error("--runs must be at least 1")
    return exit_status(lambda: report(cases, memory_of, options))


def report(cases: dict[str, list[Case]], memory_of: Sequence[str], options: argparse.Namespace) -> int:
    """Measures, prints the table and returns the exit status.

    Raises:
        OSError: if `options.out` cannot be written, which is checked before measuring.
    """
    if options.out:
        prove_writable(options.out)
    print(
        f"threads {os.environ.get('OMP_NUM_THREADS', 'all')}, cores {os.cpu_count()}, load "
        f"{os.getloadavg()[0]:.1f}, "
        f"median of {options.runs} runs in turn\n\n{HEADING}",
        flush=True,
    )
    chosen = [case for group in options.groups for case in cases[group]]
    rows = measure(chosen, options.runs, options.torch_python, () if options.no_memory else memory_of)
    if options.out:
        options.out.write_text(json.dumps([row._asdict() for row in rows], indent=1) + "\n")
    return 0


def label_of(job: dict) -> np.ndarray:
    """Returns the label int32 (B, size, size) of a job, in blocks of an eighth of its side."""
    (batch, classes, _, _), size = job["shapes"][0], job["size"]
    blocks = np.random.default_rng(2).integers(0, classes, (batch, 8, 8)).astype(np.int32)
    return blocks.repeat(size // 8, 1).repeat(size // 8, 2)


def peak_bytes() -> int:
    """Returns the largest resident size of this process in bytes since `reset_peak`."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(row.split()[1] for row in status.splitlines() if row.startswith("VmHWM")))


def reset_peak() -> None:
    """Resets the largest resident size of this process (Linux)."""
    Path("/proc/self/clear_refs").write_text("5")


def serve(prepare) -> None:
    """Runs the loop of a worker.

    `prepare(job)` returns (forward, backward), two functions that do their work and wait for it. A job of
    about a millisecond asks for `repeat` calls in a row, of which the median counts, because the first finds
    cold caches.
    """
    for text in sys.stdin:
        job = json.loads(text)
        memory, repeat = job.pop("memory", False), job.pop("repeat", 1)
        forward, backward = prepare(job)
        reset_peak()
        before = peak_bytes()
        seconds = []
        for _ in range(1 if memory else repeat):
            start = time.perf_counter()
            forward()
            middle = time.perf_counter()
            backward()
            seconds.append((middle - start, time.perf_counter() - middle))
        medians = [statistics.median(each) for each in zip(*seconds)]
        print(
            "ANSWER " + json.dumps({"bytes": peak_bytes() - before} if memory else {"seconds": medians}),
            flush=True,
        )
