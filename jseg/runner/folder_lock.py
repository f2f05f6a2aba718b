"""Allows only one run per task in a work folder: two would mix their logs, checkpoints and metrics."""

import errno
import fcntl
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from jseg.files import PathLike

_LONGEST = 1000  # characters describing a run
_HELD = (errno.EWOULDBLOCK, errno.EACCES)


@contextmanager
def occupied(work_dir: PathLike, task: str, warn: Callable[[str], None]) -> Iterator[None]:
    """Locks the work folder against other runs of `task`, on all machines that share the file system.

    The lock belongs to the process. A crash leaves the file, but not the lock. Network file systems support
    the lock too, unless they are mounted without locks.

    Args:
        task: 'train', 'val' or 'test'. Each writes its own files.
        warn: called with a sentence if the file system does not support locks.

    Raises:
        OSError: if another run holds the lock (the message names it), or the folder cannot be written.
    """
    path = Path(work_dir) / f".{task}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in _HELD:
                file.seek(0)
                other = file.read(_LONGEST).strip() or "unknown"
                raise OSError(
                    f"work folder {work_dir} is in use by another run ({other}); wait until it has ended, "
                    "stop it, or choose another folder with --work-dir"
                ) from None
            warn(f"warning: no lock on {path} ({error.strerror}): a second run would not be noticed")
        file.truncate(0)
        file.write(_self())
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)


def _self() -> str:
    """Describes this run for others: process, machine, start time and command."""
    place = f"process {os.getpid()} on {socket.gethostname()}"
    return f"{place}, since {time.strftime('%Y-%m-%d %H:%M:%S')}: {' '.join(sys.argv)[: _LONGEST // 2]}"
