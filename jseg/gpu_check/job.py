"""The job that a check is given, and the outcome that it returns."""

import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from jseg.gpu_check.processes import ROOT, Processes, StageFailed, last_error, results
from jseg.runtime.device import PRECISION_VARIABLE, VARIABLE
from jseg.runtime.machine import usable_cores

PROGRAMS = {
    "stages": ("-m", "jseg.gpu_check.stages"),
    "speed": ("-m", "jseg.gpu_check.speed"),
    "pytorch": (str(Path(__file__).with_name("pytorch.py")),),
}
"""Programs of this package as arguments of Python. The one for PyTorch is started by its path, since the
Python that runs it may lack jseg."""

SIDE_BY_SIDE = 8
"""Processes that compute at the same time while stages run in parallel. The others wait for the GPU or
nvcc."""

MOST_LINES = 5


class Outcome(NamedTuple):
    """Result of a check.

    Attributes:
        lines: lines to print.
        details: details for the report.
        failures: one sentence for each failure.
        missing: comparisons that could not be made, each as "name: reason".
    """

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
    """Everything that a check needs to run.

    Attributes:
        dry: whether this is a dry run, with small sizes on the CPU.
        processes: starts programs.
        until: time of `time.monotonic` at which everything must have ended.
        folder: folder for the files of the checks.
        data: future path of the ZeroShapes data.
        alone: whether no other check runs at the same time.
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
        """Runs a program on the device of this check and returns its output.

        Raises:
            StageFailed: if the program cannot be started or its time is up.
        """
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
        """Runs a program of `PROGRAMS` and returns the results that it prints.

        Raises:
            StageFailed: if there are fewer results than `expected`. The error holds those that were printed.
        """
        command = [*launcher, python, *PROGRAMS[program], *arguments, *(["--small"] if self.dry else [])]
        output = self.run(command, precision, changes)
        found = results(output)
        if len(found) < expected:
            raise StageFailed(last_error(output), found)
        return found

    def stage(self, name: str, precision: str = "float32") -> dict[str, Any]:
        """Runs a stage of `jseg.gpu_check.stages` and returns its result, or raises StageFailed."""
        return self.results("stages", name, precision=precision)[-1]


def at_once(work: Callable[[str], Any], names: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """Runs `work` for all names in parallel, and returns the results by name and the failure messages."""
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
    """Returns the message of a failed stage, or the type and message of an unexpected error."""
    return str(error) if isinstance(error, StageFailed) else f"{type(error).__name__}: {error}"
