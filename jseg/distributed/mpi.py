"""The few MPI calls that jseg needs, on the Open MPI library that Jittor has loaded and initialised.

Jittor's own wrappers hold Python's interpreter lock while they wait: no thread and no signal handler would
run until the slowest process arrives, or for ever. Here every collective begins with `arrive`, which waits in
Python; afterwards everybody is there and the blocking call is short. ctypes releases the lock during calls.
"""

import ctypes
import functools
import os
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from jseg.runtime.backend import jt

WaitObserver = Callable[[str, float], None]
"""Called with what is waited for and the seconds since; may raise to give up."""

OBSERVER_INTERVAL = 0.5  # seconds between calls of the observer
_YIELD_SECONDS = 0.002  # wait so long by yielding the core, afterwards by sleeping
_SLEEP_SECONDS = 0.001
_LARGEST_COUNT = 1 << 27  # numbers in one call; MPI counts in C ints
_IN_PLACE = ctypes.c_void_p(1)  # Open MPI's MPI_IN_PLACE
_TYPES = {
    "float32": "ompi_mpi_float",
    "float64": "ompi_mpi_double",
    "int32": "ompi_mpi_int32_t",
    "int64": "ompi_mpi_int64_t",
    "uint8": "ompi_mpi_uint8_t",
}
_OPERATIONS = {"sum": "ompi_mpi_op_sum", "max": "ompi_mpi_op_max"}

_state = {"observer": None}


def rank() -> int:
    """Number of this process, 0 without MPI."""
    return int(jt.rank) if jt.in_mpi else 0


def world_size() -> int:
    """How many processes work together, 1 without MPI."""
    return int(jt.world_size) if jt.in_mpi else 1


def local_rank() -> int:
    """Number of this process among those on the same machine."""
    return int(os.environ.get("OMPI_COMM_WORLD_LOCAL_RANK", 0)) if jt.in_mpi else 0


def local_size() -> int:
    """How many processes there are on this machine."""
    return int(os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE", 1)) if jt.in_mpi else 1


def is_main() -> bool:
    """Whether this process prints and writes files."""
    return rank() == 0


def set_wait_observer(observer: WaitObserver | None) -> None:
    """Sets who is told, every half second, that this process still waits for others; None for nobody."""
    _state["observer"] = observer


def arrive(what: str) -> None:
    """Returns when every process has called this; `what` says in messages what it was for."""
    request, done = ctypes.c_void_p(), ctypes.c_int(0)
    _call("MPI_Ibarrier", _handle("ompi_mpi_comm_world"), ctypes.byref(request))
    start = time.monotonic()
    report = OBSERVER_INTERVAL
    while True:
        _call("MPI_Test", ctypes.byref(request), ctypes.byref(done), None)
        if done.value:
            return
        waited = time.monotonic() - start
        time.sleep(0.0 if waited < _YIELD_SECONDS else _SLEEP_SECONDS)
        if waited >= report:
            report = waited + OBSERVER_INTERVAL
            if _state["observer"] is not None:
                _state["observer"](what, waited)


def all_reduce(array: np.ndarray, operation: str, what: str) -> None:
    """Replaces `array` (contiguous, of a type in `_TYPES`) by its "sum" or "max" over all processes."""
    arrive(what)
    flat = array.reshape(-1)
    for first in range(0, flat.size, _LARGEST_COUNT):
        part = flat[first : first + _LARGEST_COUNT]
        _call(
            "MPI_Allreduce",
            _IN_PLACE,
            ctypes.c_void_p(part.ctypes.data),
            ctypes.c_int(part.size),
            _handle(_TYPES[part.dtype.name]),
            _handle(_OPERATIONS[operation]),
            _handle("ompi_mpi_comm_world"),
        )


def broadcast(array: np.ndarray, root: int, what: str) -> None:
    """Replaces `array` (uint8, contiguous, of the same size everywhere) by that of `root`."""
    arrive(what)
    for first in range(0, array.size, _LARGEST_COUNT):
        part = array[first : first + _LARGEST_COUNT]
        _call(
            "MPI_Bcast",
            ctypes.c_void_p(part.ctypes.data),
            ctypes.c_int(part.size),
            _handle(_TYPES["uint8"]),
            ctypes.c_int(root),
            _handle("ompi_mpi_comm_world"),
        )


def abort(code: int) -> None:
    """Ends every process of the job at once, on all machines; the exit status of `mpirun` is `code`.

    The way out of an error on one rank: a rank that simply ended would wait in MPI_Finalize for the others,
    and they for it.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if world_size() > 1:
        _library().MPI_Abort(_handle("ompi_mpi_comm_world"), ctypes.c_int(code))
    os._exit(code)


@functools.cache
def _library() -> ctypes.CDLL:
    return ctypes.CDLL(None)  # the symbols of all libraries loaded globally, as Jittor loads MPI


@functools.cache
def _handle(name: str) -> ctypes.c_void_p:
    """Open MPI's handles of types, operations and communicators are addresses of objects in its library."""
    return ctypes.c_void_p(ctypes.addressof(ctypes.c_char.in_dll(_library(), name)))


def _call(name: str, *arguments: Any) -> None:
    status = getattr(_library(), name)(*arguments)
    if status:  # Open MPI ends the job by itself on errors, unless told otherwise
        raise RuntimeError(f"{name} returned {status}")
