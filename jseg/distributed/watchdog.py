"""Ends the job when one of its processes hangs: each process starts a watcher of its own (`watcher.py`) and
gives it signs of life. The watcher of the process that hangs names it and kills it, and `mpirun` ends the
rest."""

import json
import mmap
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from jseg.distributed.mpi import rank, set_wait_observer
from jseg.distributed.watcher import HEADER, SIZE, WAITING

LONGEST = 1800.0
"""Seconds that compiling at the start, or waiting for a lock or a disk, may take."""

_state: dict[str, Any] = {"memory": None, "signs": 0, "watcher": None}


def alive(doing: str) -> None:
    """A sign of life; `doing` is what this process begins now, e.g.
    "computing iteration 8". Costs next to nothing."""
    memory: mmap.mmap | None = _state["memory"]
    if memory is not None:
        _state["signs"] += 1
        text = doing.encode("utf-8")[: SIZE - HEADER.size]
        memory[HEADER.size : HEADER.size + len(text)] = text
        HEADER.pack_into(memory, 0, _state["signs"], len(text))


def watch(patience: float | None) -> None:
    """From now until it ends this process is watched, if mpirun started it and the system has /proc.

    Waiting for other processes in a collective counts as a sign of life: only the one that hangs is blamed.

    Args:
        patience: seconds without a sign of life after which an idle process, or one that takes far longer
            than before, counts as hanging; None for no watching.
    """
    # With one rank too: what it leaves behind when it is killed holds
    # its output open, and mpirun would wait for that.
    if patience is None or "OMPI_COMM_WORLD_RANK" not in os.environ or not Path("/proc/self").is_dir():
        return
    shared = os.memfd_create("jseg-watchdog")
    os.ftruncate(shared, SIZE)
    settings = {
        "pid": os.getpid(),
        "memory": shared,
        "patience": patience,
        "longest": LONGEST,
        "name": f"rank {rank()} on {socket.gethostname()}",
    }
    script = str(Path(__file__).resolve().with_name("watcher.py"))
    # Isolated (-I): the watcher needs nothing of this environment. In a session of its own: signals to the
    # group of the job pass it by. It ends when this process does.
    _state["watcher"] = subprocess.Popen(
        [sys.executable, "-I", script, json.dumps(settings)],
        pass_fds=(shared,),
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    _state["memory"] = mmap.mmap(shared, SIZE)
    os.close(shared)
    alive("starting")
    set_wait_observer(lambda what, seconds: alive(WAITING + what))
