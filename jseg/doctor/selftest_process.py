"""Runs `jseg.doctor.selftest` in a process of its own, shows its progress, and ends it if there is none."""

import hashlib
import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jseg.doctor.selftest import MARK
from jseg.runtime.waiting import StatusLine

_COMMAND = (sys.executable, "-m", "jseg.doctor.selftest")


@dataclass(frozen=True)
class Outcome:
    """`result` as printed by the self-test, or None with the problem in one sentence and its fix."""

    result: dict[str, Any] | None
    problem: str = ""
    fix: str = ""


def place_key(jittor_utils_file: str) -> str:
    """Part of Jittor's cache path that distinguishes installations (jittor_utils.find_cache_path)."""
    return hashlib.md5(jittor_utils_file.encode()).hexdigest()[:4]


def run(patience: float, cache: Path, root: Path, command: Sequence[str] = _COMMAND) -> Outcome:
    """Runs the self-test. The first run compiles Jittor, which takes minutes.

    Args:
        patience: seconds without any progress after which the process and its compilers are ended. Compiling
            has no other limit, since a slow or busy machine may need an hour.
        cache: Jittor's cache folder, for the advice. Progress is printed to stderr.
        root: folder that `jseg` is imported from.
        command: another program to run instead (for tests).
    """
    search_path = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": search_path}
    file, log = tempfile.mkstemp(prefix="jseg-selftest-", suffix=".log")
    with os.fdopen(file, "wb") as output:
        # Its own session, so that the compilers that it started can be ended with it.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
        try:
            finished = _wait(process, patience, Path(log))
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    text = Path(log).read_text(errors="replace")
    if not finished:
        return Outcome(
            None,
            f"no progress for {patience:.0f} s, last: {_progress(Path(log))}; output in {log}",
            f"python tools/doctor.py --timeout {2 * patience:.0f}   (continues where it stopped)",
        )
    for line in reversed(text.splitlines()):
        if MARK in line:
            Path(log).unlink()
            return Outcome(json.loads(line[line.index(MARK) + len(MARK) :]))
    rebuild = f"rm -r {shlex.quote(str(cache))}/jt*"
    return Outcome(
        None,
        f"output in {log}: {_last_error(text)}",
        f"less {shlex.quote(log)}   (if a compilation failed: {rebuild})",
    )


def _wait(process: subprocess.Popen, patience: float, log: Path) -> bool:
    """Waits for the end; returns False if `log` has not grown for `patience` seconds. Shows progress every
    second, in a log every 30 seconds."""
    start = moved = time.monotonic()
    size = 0
    line, step = StatusLine(), 1.0 if sys.stderr.isatty() else 30.0
    next_report = 2.0 * step
    while process.poll() is None:
        now, before, size = time.monotonic(), size, log.stat().st_size
        if size != before:
            moved = now
        if now - moved > patience:
            return False
        seconds = now - start
        if seconds > next_report:
            line.show(f"self-test: {seconds:.0f} s, {_progress(log)}")
            next_report = seconds + step
        time.sleep(0.1)
    line.clear()
    return True


def _progress(log: Path) -> str:
    """Returns the last line that the self-test printed; a line may be rewritten in place."""
    lines = log.read_text(errors="replace").replace("\r", "\n").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "starting Jittor")


def _last_error(text: str) -> str:
    """Returns the most informative line: the last one that names an exception or error, or else the last
    one."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    named = [line for line in lines if "Error" in line or "error:" in line or "Problem" in line]
    return (named or lines or ["no output"])[-1][:160]
