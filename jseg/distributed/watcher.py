"""Watches one rank from a separate small process: `python watcher.py`, with settings on stdin,
started by `watchdog.py`.

Jittor computes and compiles while holding Python's global interpreter lock, so no thread of the rank itself
could notice that it hangs. This process loads nothing but the standard library. It reads the rank's
heartbeats from shared memory and its activity from /proc. A rank that hangs, or whose mpirun has ended, is
reported on stderr and killed together with its child processes. `mpirun` then ends the other ranks.
"""

import collections
import json
import mmap
import os
import re
import signal
import struct
import sys
from pathlib import Path
from time import monotonic, sleep
from typing import Any

if not __package__:  # started as a script, in isolated mode
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from jseg.runtime.processes import descendants, kill, parents_of_all, read_text, status

HEADER = struct.Struct("<QI")  # number of heartbeats so far, length of the text that follows in bytes
SIZE = 512  # bytes of shared memory
_LOOK_SECONDS = 1.0
_BUSY_SHARE = 0.05  # share of one core below which a process counts as idle
_WARM_UP = 5  # heartbeats after which the usual interval is known
_USUAL = 10  # a busy rank may take this many times the longest recent interval of the same kind
_RECENT = 50

WAITING = "waiting for the other processes: "
"""Prefix of the heartbeats that a rank sends inside a collective."""


class Judge:
    """Decides from one observation per second whether a rank hangs.

    Args:
        patience: seconds without a heartbeat after which the rank counts as hanging if it is idle, or far
            beyond the usual interval.
        longest: largest number of seconds for compiling, waiting for the compiler's lock or the disk, or the
            start of a run.
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
        # Kind of the current step. Short steps (parts of an image) say nothing about long ones.
        self._kind = ""
        self._waiting = False

    def look(self, now: float, signs: int, activity: float, excuse: str, doing: str = "") -> str | None:
        """Returns the reason why the rank counts as hanging, or None.

        Args:
            signs: number of heartbeats so far. activity: seconds of CPU time used or waited for so far.
            excuse: current activity that may legitimately take long, or "".
            doing: text of the latest heartbeat. Texts that differ only in numbers are one kind of step.
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
            if not waiting:  # after waiting, the rank continues its previous step
                self._kind = re.sub(r"\d+", "", doing)
            self._signs, self._sign_at, self._active_at, self._excused = signs, now, now, 0.0
            return None
        if excuse:
            self._excused += elapsed
            self._active_at = now
        silent = now - self._sign_at
        if silent > self._longest:
            return f"no heartbeat for {silent:.0f} s" + (f" ({excuse})" if excuse else "")
        if not excuse and now - self._active_at > self._patience:
            idle = now - self._active_at
            return f"no heartbeat for {silent:.0f} s, and no CPU time used for {idle:.0f} s"
        recent = self._recent[self._kind]
        usual = max(recent, default=0.0)
        if signs >= _WARM_UP and recent and silent - self._excused > max(self._patience, _USUAL * usual):
            return f"no heartbeat for {silent:.0f} s, after intervals of at most {usual:.1f} s before"
        return None


def main(settings: dict[str, Any]) -> None:
    """Observes the rank once a second until it has ended or must be killed."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
        # May be sent to every process of a job; the rank handles them.
        signal.signal(number, signal.SIG_IGN)
    pid = settings["pid"]
    memory = mmap.mmap(settings["memory"], SIZE)
    judge = Judge(settings["patience"], settings["longest"], monotonic())
    parents = parents_of_all()
    parent, family = parents.get(pid), set()
    leads_group = os.getpgid(pid) == pid  # as under mpirun
    while pid in parents:
        family = descendants(pid, parents) - {os.getpid()}
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
                f"error: {settings['name']}, process {pid}, was killed: {reason}; last activity: {doing}; "
                "checkpoints are complete, resume with --resume auto",
                file=sys.stderr,
                flush=True,
            )
            break
        sleep(_LOOK_SECONDS)
        parents = parents_of_all()
    # Child processes that a killed rank leaves behind, such as Jittor's compilers, would wait for it forever.
    for member in (pid, *family):
        kill(member)
    if leads_group:
        kill(pid, os.killpg)


def _excuse(pid: int, family: set[int]) -> str:
    """Returns what the rank may be waiting for through no fault of its own, or ""."""
    for member in family:
        name = read_text(f"/proc/{member}/comm").strip()
        if name and not name.startswith("python"):  # data workers are Python; compilers are not
            return f"running {name}"
    processes = {str(member) for member in (pid, *family)}
    for line in read_text("/proc/locks").splitlines():
        fields = line.split()
        if len(fields) > 5 and fields[1] == "->" and fields[5] in processes:
            return "waiting for a file lock, such as that of the compiler's cache"
    return "waiting for a disk" if status(pid)[:1] == ["D"] else ""


def _activity(pid: int) -> float:
    """Seconds of CPU time that the threads of a process used or waited for."""
    total = 0
    try:
        threads = list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return 0.0
    for thread in threads:
        total += sum(int(value) for value in read_text(thread / "schedstat").split()[:2])
    return total / 1e9


if __name__ == "__main__":
    main(json.load(sys.stdin))
