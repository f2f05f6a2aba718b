"""What a check is given, and what it answers."""

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
"""Programs of this package as arguments of Python. That of PyTorch is started by its path, since the Python
that runs it may lack jseg."""

SIDE_BY_SIDE = 8
"""Processes that compute at the same moment while stages run at
once; the others wait for the GPU or for nvcc."""

MOST_LINES = 5


class Outcome(NamedTuple):
    """Lines to print, what goes into the report, what failed, and
    what could not be compared ("thing: why")."""

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
    """What a check needs: dry runs are small and on the processor;
    all must be over at `until` (`time.monotonic`).

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
        """What a program of `PROGRAMS` prints as results; raises
        StageFailed, with them, where fewer are there."""
        command = [*launcher, python, *PROGRAMS[program], *arguments, *(["--small"] if self.dry else [])]
        output = self.run(command, precision, changes)
        found = results(output)
        if len(found) < expected:
            raise StageFailed(last_error(output), found)
        return found

    def stage(self, name: str, precision: str = "float32") -> dict[str, Any]:
        """The result of a stage of `jseg.gpu_check.stages`; raises StageFailed."""
        return self.results("stages", name, precision=precision)[-1]


def at_once(work: Callable[[str], Any], names: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
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
