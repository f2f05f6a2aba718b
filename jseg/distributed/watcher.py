"""Watches one rank from a small process beside it: `python watcher.py SETTINGS`, started by `watchdog.py`.

Jittor computes and compiles with Python's interpreter lock held, so no thread of the rank itself could notice
that it hangs. This process needs the standard library only. It reads the rank's signs of life from shared
memory and its activity from /proc. A rank that hangs, or whose mpirun has ended, is named on stderr and
killed with its child processes; `mpirun` then ends the others. What a killed rank leaves running is killed
too.
"""

import collections
import contextlib
import json
import mmap
import os
import re
import signal
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Any

HEADER = struct.Struct("<QI")  # signs of life so far, bytes of the text that follows
SIZE = 512  # bytes of shared memory
_LOOK_SECONDS = 1.0
_BUSY_SHARE = 0.05  # of one core: less is idle
_WARM_UP = 5  # signs of life after which the usual distance between two is known
_USUAL = 10  # a busy rank may take so many times the longest of the recent distances of the same kind
_RECENT = 50

WAITING = "waiting for the other processes: "
"""How the signs of life begin that a rank gives inside a collective."""


class Judge:
    """Decides from what is seen each second whether a rank hangs.

    Args:
        patience: seconds without a sign of life, while idle or far beyond the usual time, that are a hang.
        longest: seconds that compiling, waiting for the compiler's lock or the disk, or the start of a run
            may last.
    """

    def __init__(self, patience: float, longest: float, now: float) -> None:
        self._patience, self._longest = patience, longest
        self._signs = 0
        self._sign_at = self._seen_at = self._active_at = now
        self._activity = 0.0
        self._excused = 0.0
        self._recent: dict[str, collections.deque[float]] = collections.defaultdict(
            lambda: collections.deque(maxlen=_RECENT)
        )
        self._kind = ""  # of what it does, so that short steps (parts of an image) say nothing of long ones
        self._waiting = False

    def look(self, now: float, signs: int, activity: float, excuse: str, doing: str = "") -> str | None:
        """The reason why the rank counts as hanging, None while it does not.

        Args:
            signs: signs of life so far. activity: seconds of CPU time so far, used or waited for.
            excuse: what legitimately takes long just now, "" for nothing.
            doing: the text of the latest sign of life; texts that differ in numbers only are one kind of
                step.
        """
        elapsed, used = now - self._seen_at, activity - self._activity
        self._seen_at, self._activity = now, activity
        if used > _BUSY_SHARE * elapsed:
            self._active_at = now
        if signs != self._signs:
            waiting = doing.startswith(WAITING)
            if self._signs and not (waiting and self._waiting):
                self._recent[self._kind].append(now - self._sign_at - self._excused)
            self._waiting = waiting
            if not waiting:  # after waiting it goes on with what it did before
                self._kind = re.sub(r"\d+", "", doing)
            self._signs, self._sign_at, self._active_at, self._excused = signs, now, now, 0.0
            return None
        if excuse:
            self._excused += elapsed
            self._active_at = now
        silent = now - self._sign_at
        if silent > self._longest:
            return f"no sign of life for {silent:.0f} s" + (f" ({excuse})" if excuse else "")
        if not excuse and now - self._active_at > self._patience:
            idle = now - self._active_at
            return f"no sign of life for {silent:.0f} s, and no CPU time used for {idle:.0f} s"
        recent = self._recent[self._kind]
        usual = max(recent, default=0.0)
        if signs >= _WARM_UP and recent and silent - self._excused > max(self._patience, _USUAL * usual):
            return f"no sign of life for {silent:.0f} s, where {usual:.1f} s were the most before"
        return None


def main(settings: dict[str, Any]) -> None:
    """Looks once a second until the rank has ended, or has to."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # these may reach every process of a job; the rank decides
    pid = settings["pid"]
    memory = mmap.mmap(settings["memory"], SIZE)
    judge = Judge(settings["patience"], settings["longest"], monotonic())
    parents = _parents()
    parent, family = parents.get(pid), set()
    leads_group = os.getpgid(pid) == pid  # as under mpirun
    while pid in parents:
        family = _descendants(pid, parents) - {os.getpid()}
        signs, length = HEADER.unpack_from(memory)
        doing = memory[HEADER.size : HEADER.size + length].decode("utf-8", "replace")
        reason = judge.look(
            monotonic(),
            signs,
            sum(_activity(member) for member in (pid, *family)),
            _excuse(pid, family),
            doing,
        )
        if parents[pid] != parent:
            reason = "the mpirun that started it has ended"
        if reason:
            print(
                f"error: {settings['name']}, process {pid}, is ended: {reason}; it was {doing}; "
                "checkpoints are "
                "complete, go on with --resume auto",
                file=sys.stderr,
                flush=True,
            )
            break
        sleep(_LOOK_SECONDS)
        parents = _parents()
    # What a killed rank leaves behind, such as Jittor's compiling processes, would wait for it for ever.
    for member in (pid, *family):
        _kill(os.kill, member)
    if leads_group:
        _kill(os.killpg, pid)


def _parents() -> dict[int, int]:
    """Process -> parent, of all that can be seen and have not ended."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = _stat(int(entry.name))
            if fields and fields[0] != "Z":
                parents[int(entry.name)] = int(fields[1])
    return parents


def _descendants(pid: int, parents: dict[int, int]) -> set[int]:
    found: set[int] = set()
    fresh = {pid}
    while fresh:
        fresh = {child for child, parent in parents.items() if parent in fresh} - found
        found |= fresh
    return found


def _excuse(pid: int, family: set[int]) -> str:
    """What the rank may be waiting for without being at fault."""
    for member in family:
        name = _read(f"/proc/{member}/comm").strip()
        if name and not name.startswith("python"):  # loading processes are; compilers are not
            return f"running {name}"
    processes = {str(member) for member in (pid, *family)}
    for line in _read("/proc/locks").splitlines():
        fields = line.split()
        if len(fields) > 5 and fields[1] == "->" and fields[5] in processes:
            return "waiting for a file lock, as the compiler's cache has"
    return "waiting for a disk" if (_stat(pid) or [""])[0] == "D" else ""


def _activity(pid: int) -> float:
    """Seconds that the threads of a process computed or were ready to."""
    total = 0
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return 0.0
    for thread in threads:
        total += sum(int(value) for value in _read(thread / "schedstat").split()[:2])
    return total / 1e9


def _stat(pid: int) -> list[str] | None:
    """State, parent, ... of a process: the fields behind its name; None if it has gone."""
    text = _read(f"/proc/{pid}/stat")
    return text[text.rindex(")") + 2 :].split() if ")" in text else None


def _read(path: Path | str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _kill(kill: Callable[[int, int], None], number: int) -> None:
    with contextlib.suppress(OSError):  # it has ended already
        kill(number, signal.SIGKILL)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
