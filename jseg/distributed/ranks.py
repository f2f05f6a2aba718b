"""Who am I among the processes that `mpirun` started, and sums over all of them."""

import numpy as np

from jseg.runtime.backend import jt


def rank() -> int:
    """Number of this process, 0 without MPI."""
    return int(jt.rank) if jt.in_mpi else 0


def world_size() -> int:
    """How many processes work together, 1 without MPI."""
    return int(jt.world_size) if jt.in_mpi else 1


def is_main() -> bool:
    """Whether this process prints and writes files."""
    return rank() == 0


def barrier() -> None:
    """Returns when every process has arrived here."""
    all_reduce_sum(np.zeros(1))


def all_reduce_sum(array: np.ndarray) -> np.ndarray:
    """The sum of `array` over all processes, in its own type and shape; every process must call it.

    Integers are exact up to 2**53: they travel as float64, because Jittor 1.3.11 maps int64 to the wrong MPI type.
    """
    array = np.asarray(array)
    if world_size() == 1:
        return array.copy()
    total = jt.array64(array.astype(np.float64)).mpi_all_reduce("add").numpy()
    return total.reshape(array.shape).astype(array.dtype)
