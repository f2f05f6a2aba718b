"""Ends the job when one of its processes hangs.

Each process starts its own watcher (`watcher.py`) and sends it heartbeats. If the process hangs, its watcher
reports and kills it, and `mpirun` ends the others.
"""

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
"""Largest number of seconds for compiling at the start, or waiting for a lock or a disk."""

_state: dict[str, Any] = {"memory": None, "signs": 0, "watcher": None}


def alive(doing: str) -> None:
    """Sends a heartbeat. `doing` describes what this process does next, e.g. "computing iteration 8".

    The cost is negligible.
    """
    memory: mmap.mmap | None = _state["memory"]
    if memory is not None:
        _state["signs"] += 1
        text = doing.encode("utf-8")[: SIZE - HEADER.size]
        memory[HEADER.size : HEADER.size + len(text)] = text
        HEADER.pack_into(memory, 0, _state["signs"], len(text))


def watch(patience: float | None) -> None:
    """Watches this process until it ends, if mpirun started it and the system has /proc.

    Waiting for other processes in a collective sends heartbeats, so that only the process that hangs is
    blamed.

    Args:
        patience: seconds without a heartbeat after which a process counts as hanging if it is idle or takes
            far longer than before. None disables watching.
    """
    # A single rank is watched too: mpirun would wait for child processes that a killed rank leaves behind,
    # since they keep its output open.
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
    # Isolated mode (-I): the watcher needs nothing from this environment. It runs in its own session, so that
    # signals to the process group of the job do not reach it, and ends when this process does.
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
