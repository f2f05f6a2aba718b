"""Reports what Jittor is waiting for: its own build, or another process. While one process holds Jittor's
lock, all others of the same user wait."""

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_SECONDS = 5.0  # shorter waits are not reported
PROGRESS = "JSEG_PROGRESS"
"""Variable with the file to which Jittor writes the progress of its build; see `jseg.runtime.overlay`."""

_LOCKS = Path("/proc/locks")  # exists only on Linux; elsewhere nothing is reported


def lock_holder(pid: int) -> int | None:
    """Returns the process that holds the file lock for which `pid` waits, or None."""
    try:
        lines = _LOCKS.read_text().splitlines()
    except OSError:
        return None
    holders: dict[str, int] = {}
    # 7: FLOCK  ADVISORY  WRITE 3568 fd:00:2531452 0 EOF
    # 7: -> FLOCK  ADVISORY  WRITE 3569 fd:00:2531452 0 EOF
    for words in map(str.split, lines):
        if "->" not in words:
            holders[words[0]] = int(words[4])
        elif int(words[5]) == pid:
            return holders.get(words[0])
    return None


def waiting_sentence(pid: int) -> str:
    """Describes the process that `pid` waits for; '' if there is none."""
    holder = lock_holder(pid)
    if holder is None:
        return ""
    try:
        command = Path(f"/proc/{holder}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        command = ""
    command = " ".join(command.split())  # one line, also for a program after -c
    named = f" ({command[:100]})" if command else ""
    return f"waiting for process {holder}{named}, which holds the lock of Jittor's cache"


def building_sentence(progress: Path) -> str:
    """Describes the progress of Jittor's build.

    Args:
        progress: file with the finished parts, all parts and the seconds used. It may not exist yet.
    """
    sentence = "compiling Jittor, once on this machine"
    try:
        words = progress.read_text().split()
        done, parts, seconds = int(words[0]), int(words[1]), float(words[2])
    except (OSError, ValueError, IndexError):
        return f"{sentence}; this takes minutes"
    left = seconds / done * (parts - done)
    return f"{sentence}: {done} of {parts} parts, about {left:.0f} s left"


class StatusLine:
    """A line on stderr that is updated in place on a terminal, and otherwise printed again."""

    def __init__(self) -> None:
        self._terminal, self._said = sys.stderr.isatty(), ""

    def show(self, text: str) -> None:
        """Shows `text`, unless it is shown already."""
        if text != self._said:
            sys.stderr.write(f"\r\x1b[K{text}" if self._terminal else f"{text}\n")
            sys.stderr.flush()
            self._said = text

    def clear(self) -> None:
        """Erases the line on a terminal."""
        if self._terminal and self._said:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


@contextmanager
def wait_announced(say: Callable[[str], None], seconds: float = _SECONDS) -> Iterator[None]:
    """Within this context, calls `say` with a sentence if this process waits for a file lock for several
    seconds."""
    over = threading.Event()

    def watch() -> None:
        said = ""
        while not over.wait(seconds):
            sentence = waiting_sentence(os.getpid())
            if sentence and sentence != said:
                say(sentence)
                said = sentence

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
