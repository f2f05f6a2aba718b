"""Ends the job when one of its processes hangs.

Each process starts its own watcher (`watcher.py`) and sends it heartbeats. If the process hangs, its watcher
reports and kills it, and `mpirun` ends the others. If there are several hosts, one process on each watches
the others (`host_watcher.py`).
"""

import contextlib
import fcntl
import json
import mmap
import os
import secrets
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jseg.distributed.collectives import broadcast_object, gather_objects
from jseg.distributed.mpi import rank, set_wait_observer, world_size
from jseg.distributed.watcher import HEADER, SIZE, WAITING

LONGEST = 1800.0
"""Largest number of seconds for compiling at the start, or waiting for a lock or a disk."""

HOST_SHARE = 2 / 3
"""Part of the patience after which a silent host counts as lost, before any of the ranks that wait for it."""

_ADDRESS_OF_CARD = 0x8915  # SIOCGIFADDR, see netdevice(7)

_state: dict[str, Any] = {"memory": None, "signs": 0, "watcher": None}


class Host(NamedTuple):
    """A name and IPv4 addresses, since containers on different machines may have equal names."""

    name: str
    addresses: tuple[str, ...]


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
    """Watches this process until it ends, and connections between hosts, if mpirun started it and the system
    has /proc.

    Every process must call this. Waiting for other processes in a collective sends heartbeats, so that only
    the process that hangs is blamed.

    Args:
        patience: seconds without a heartbeat after which a process counts as hanging if it is idle or takes
            far longer than before. A host that is silent for two thirds of it counts as lost. None disables
            watching.
    """
    if "OMPI_COMM_WORLD_RANK" not in os.environ or not Path("/proc/self").is_dir():
        return
    if patience is not None:
        _watch_rank(patience)
    if world_size() > 1:
        _watch_hosts(patience)


def _watch_rank(patience: float) -> None:
    # A single rank is watched too: mpirun would wait for child processes that a killed rank leaves behind,
    # since they keep its output open.
    shared = os.memfd_create("jseg-watchdog")
    os.ftruncate(shared, SIZE)
    settings = {
        "pid": os.getpid(),
        "memory": shared,
        "patience": patience,
        "longest": LONGEST,
        "name": f"rank {rank()} on {socket.gethostname()}",
    }
    _state["watcher"] = _started("watcher.py", settings, shared)
    _state["memory"] = mmap.mmap(shared, SIZE)
    os.close(shared)
    alive("starting")
    set_wait_observer(lambda what, seconds: alive(WAITING + what))


def _watch_hosts(patience: float | None) -> None:
    """Starts a process on each host that exchanges signs of life with that on the host of rank 0."""
    own = Host(socket.gethostname(), _addresses())
    found = gather_objects((own, os.getpid(), patience), "the list of hosts")
    ranks: dict[Host, list[int]] = {}
    for number, (host, _, _) in enumerate(found):
        ranks.setdefault(host, []).append(number)
    if len(ranks) == 1 or any(seconds is None for _, _, seconds in found):
        return
    listener = socket.create_server(("", 0), backlog=len(ranks)) if rank() == 0 else None
    port, token = broadcast_object(
        (listener.getsockname()[1], secrets.token_hex(16)) if listener else None, what="the list of hosts"
    )
    if rank() != ranks[own][0]:
        return
    center = found[0][0]
    settings = {
        "name": own.name,
        "pids": [found[number][1] for number in ranks[own]],
        "patience": found[0][2] * HOST_SHARE,
        "token": token,
    }
    if listener:
        settings["listener"] = listener.fileno()
        settings["hosts"] = {
            str(numbers[0]): _described(host, numbers) for host, numbers in ranks.items() if host != center
        }
        _started("host_watcher.py", settings, listener.fileno()).wait()  # it goes on in the background
        listener.close()
    else:
        settings["number"] = rank()
        settings["center"] = _described(center, ranks[center])
        settings["port"], settings["addresses"] = port, [*center.addresses, center.name]
        _started("host_watcher.py", settings).wait()


def _described(host: Host, ranks: Sequence[int]) -> str:
    return f"{host.name} (rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))})"


def _addresses() -> tuple[str, ...]:
    """The first IPv4 address of each network card of this host, without that of the loopback."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):  # it has none
                request = struct.pack("256s", name.encode()[:15])
                answer = fcntl.ioctl(any_socket.fileno(), _ADDRESS_OF_CARD, request)
                found.append(socket.inet_ntoa(answer[20:24]))
    return tuple(address for address in found if not address.startswith("127."))


def _started(script: str, settings: Mapping[str, Any], *descriptors: int) -> subprocess.Popen:
    """Starts a watcher, which inherits the given file descriptors.

    Isolated mode (-I): it needs nothing from this environment. It runs in its own session, so that signals to
    the process group of the job do not reach it, and ends when the ranks that it watches do.
    """
    process = subprocess.Popen(
        [sys.executable, "-I", str(Path(__file__).resolve().with_name(script))],
        pass_fds=descriptors,
        stdin=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    assert process.stdin is not None
    with process.stdin:
        json.dump(settings, process.stdin)
    return process
