"""Communication between processes over MPI, with sensible results in a single process.

Every function named after a collective must be called by all ranks in the same order.
"""

from jseg.distributed.agreement import check_device, check_same, check_versions
from jseg.distributed.collectives import (
    all_reduce_max,
    all_reduce_mean,
    all_reduce_sum,
    barrier,
    broadcast_object,
    gather_objects,
)
from jseg.distributed.compression import Compression
from jseg.distributed.gradients import average_gradients
from jseg.distributed.mpi import abort, is_main, local_rank, local_size, rank, set_wait_observer, world_size
from jseg.distributed.watchdog import alive, watch

__all__ = [
    "Compression",
    "abort",
    "alive",
    "all_reduce_max",
    "all_reduce_mean",
    "all_reduce_sum",
    "average_gradients",
    "barrier",
    "broadcast_object",
    "check_device",
    "check_same",
    "check_versions",
    "gather_objects",
    "is_main",
    "local_rank",
    "local_size",
    "rank",
    "set_wait_observer",
    "watch",
    "world_size",
]
