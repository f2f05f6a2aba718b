"""Reports which process Jittor is waiting for: while one holds its lock, all others of the same user wait."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

_SECONDS = 5.0  # shorter waits are not reported
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
    named = f" ({command.strip()[:100]})" if command else ""
    return f"waiting for process {holder}{named}, which holds the lock of Jittor's cache"


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
