"""Number of OpenMP threads per process when `mpirun` starts several of them on one machine."""

import math
import os

from jseg.runtime.machine import usable_cores


def prepare_threads() -> None:
    """Sets OMP_NUM_THREADS for this rank unless the user has set it. Must run before OpenMP is loaded."""
    if "OMP_NUM_THREADS" not in os.environ:
        local_size = int(os.environ.get("OMPI_COMM_WORLD_LOCAL_SIZE", 1))
        os.environ["OMP_NUM_THREADS"] = str(threads_per_rank(usable_cores(), _cores_of_the_job(), local_size))


def threads_per_rank(own_cores: int, all_cores: int, local_size: int) -> int:
    """Returns the threads for one of `local_size` ranks, so that together they use every core once.

    Args:
        own_cores: cores this rank may run on (`mpirun` binds a rank to a core, a socket or not at all).
        all_cores: cores that the ranks of this machine may run on together.
    """
    # Ranks per core, if evenly distributed.
    sharing = math.ceil(local_size * own_cores / max(all_cores, own_cores))
    return max(1, own_cores // max(1, sharing))


def _cores_of_the_job() -> int:
    """Cores of the process that started this rank. Unlike ranks, it is not bound to a part of them."""
    try:
        return len(os.sched_getaffinity(os.getppid()))
    except (AttributeError, OSError):
        return usable_cores()
