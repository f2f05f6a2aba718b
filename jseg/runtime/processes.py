"""Other processes, as Linux describes them in /proc. Only the standard library is needed: the watchers of a
rank start without the rest of jseg."""

import contextlib
import os
import signal
from collections.abc import Callable, Mapping
from pathlib import Path


def read_text(path: Path | str) -> str:
    """Returns the text of a file in /proc, or "" if the process has ended."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def status(pid: int) -> list[str]:
    """State, parent, ...: the fields after a process's name in /proc, or nothing if it has ended."""
    text = read_text(f"/proc/{pid}/stat")
    return text[text.rindex(")") + 2 :].split() if ")" in text else []


def running(pid: int) -> bool:
    """Whether a process has not ended."""
    fields = status(pid)
    return bool(fields) and fields[0] != "Z"


def kill(pid: int, send: Callable[[int, int], None] = os.kill) -> None:
    """Sends SIGKILL to a process, or with `send=os.killpg` to a group, that may have ended already."""
    with contextlib.suppress(OSError):
        send(pid, signal.SIGKILL)


def parents_of_all() -> dict[int, int]:
    """Maps each visible process that has not ended to its parent."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            fields = status(int(entry.name))
            if fields and fields[0] != "Z":
                parents[int(entry.name)] = int(fields[1])
    return parents


def descendants(pid: int, parents: Mapping[int, int]) -> set[int]:
    """Returns children, their children and so on. `parents`: as from `parents_of_all`."""
    found: set[int] = set()
    fresh = {pid}
    while fresh:
        fresh = {child for child, parent in parents.items() if parent in fresh} - found
        found |= fresh
    return found
