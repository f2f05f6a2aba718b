"""The processes of `tools/gpu_check.py`, each with a time limit and ended with everything that it started."""

import contextlib
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jseg.gpu_check.settings import MARK

ROOT = Path(__file__).resolve().parents[2]
"""Root of the clone, from which its tests, tools and golden vectors are used."""

_VARIABLE = "JSEG_GPU_CHECK"
"""Environment variable that marks every process started here, and the processes that it starts.

Process groups and sessions do not suffice: ranks of `mpirun` leave the group, and workers of the data loader
leave the session."""

_UNSET = ("JSEG_FUSED",)
"""Variables of the user that would switch off what is checked."""


class StageFailed(Exception):
    """A stage ended without a result, for the reason in the message.

    Attributes:
        results: results that the stage printed before it ended.
    """

    def __init__(self, message: str, results: Sequence[dict[str, Any]] = ()) -> None:
        super().__init__(message)
        self.results = list(results)


class Processes:
    """Starts programs and waits for them, until `close` ends those that still run and prevents new ones."""

    def __init__(self) -> None:
        self._name = f"{os.getpid()}-{time.monotonic_ns()}"
        self._lock = threading.Lock()
        self._started, self._closed = 0, False

    def run(self, command: Sequence[str], changes: Mapping[str, str], until: float) -> str:
        """Runs a program and returns its output, whatever its exit status.

        Args:
            command: the program and its arguments.
            changes: changes to the environment. An empty string removes a variable.
            until: time of `time.monotonic()` at which the program must have ended.

        Raises:
            StageFailed: if the program cannot be started or its time is up.
        """
        seconds = until - time.monotonic()
        with self._lock:
            if self._closed or seconds <= 0:
                raise StageFailed("not started: no time was left")
            self._started += 1
            mark = f"{self._name}-{self._started}"
        environment = {
            name: value
            for name, value in {**os.environ, **changes}.items()
            if name not in _UNSET and (value or name not in changes)
        }
        with tempfile.TemporaryFile() as file:
            try:
                process = subprocess.Popen(
                    list(command),
                    env={**environment, _VARIABLE: mark},
                    cwd=ROOT,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            except OSError as error:
                raise StageFailed(f"{command[0]} cannot be started: {error.strerror}") from error
            try:
                process.wait(seconds)
                finished = True
            except subprocess.TimeoutExpired:
                finished = False
            finally:
                if process.poll() is None:
                    process.kill()
                _end(f"{mark}\0")
                process.wait()
            file.seek(0)
            output = file.read().decode(errors="replace")
        if self._closed or not finished:
            raise StageFailed(
                f"not finished after {seconds:.0f} s; its last message: {last_error(output)}"
                if not finished
                else "stopped",
                results(output),
            )
        return output

    def close(self) -> None:
        """Ends all processes that were started here, and those that they started."""
        with self._lock:
            self._closed = True
        _end(f"{self._name}-")


def results(output: str) -> list[dict[str, Any]]:
    """Parses the lines `RESULT {json}` in order, and skips a line that was cut off."""
    found = []
    for line in output.splitlines():
        if line.startswith(MARK):
            with contextlib.suppress(ValueError):
                found.append(json.loads(line[len(MARK) :]))
    return found


def last_error(output: str) -> str:
    """Returns the last line that names an error, or the last line if there is none."""
    lines = [line.strip() for line in output.splitlines() if line.strip()] or ["no output"]
    return next((line for line in reversed(lines) if "rror" in line), lines[-1])[:300]


def _end(mark: str, patience: float = 5.0) -> None:
    """Kills processes whose mark begins with `mark` until none is left, since some may be starting others."""
    give_up = time.monotonic() + patience
    while time.monotonic() < give_up:
        living = _marked(mark)
        if not living:
            return
        for process in living:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.02)


def _marked(mark: str) -> list[int]:
    """Lists the processes with this mark, or none where there is no /proc."""
    wanted, found = f"{_VARIABLE}={mark}".encode(), []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            variables = b"\0" + path.read_bytes()
        except OSError:
            continue  # it has ended, or belongs to another user
        if b"\0" + wanted in variables:
            found.append(int(path.parent.name))
    return found
