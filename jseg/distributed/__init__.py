"""Rank, size and sums over MPI processes; sensible answers in a single process."""

from jseg.distributed.ranks import all_reduce_sum, barrier, is_main, rank, world_size

__all__ = ["all_reduce_sum", "barrier", "is_main", "rank", "world_size"]
