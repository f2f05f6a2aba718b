"""Averages gradients over processes in a few large messages.

Communication starts after the backward pass has ended. Measurements showed no benefit from overlapping the
two; see benchmarks/README.md, `distributed.py`.
"""

from collections.abc import Sequence

from jseg.distributed import mpi
from jseg.runtime.backend import jt

BUCKET_NUMBERS = 1 << 24
"""Elements in one message (64 MiB of float32), unless a single gradient has more."""


def average_gradients(gradients: Sequence[jt.Var], what: str = "gradients") -> list[jt.Var]:
    """Returns the mean of each gradient over all processes, detached, after computing pending operations.

    All processes get bitwise identical results. On GPUs with NCCL, the messages stay on the devices.

    Args:
        gradients: float32, with the same shapes in the same order on every process.
    """
    gradients = list(gradients)
    if mpi.world_size() == 1:
        return gradients
    averaged: list[jt.Var] = []
    for bucket in buckets([gradient.numel() for gradient in gradients]):
        averaged += _average([gradients[index] for index in bucket], what)
    return averaged


def buckets(sizes: Sequence[int], largest: int = BUCKET_NUMBERS) -> list[list[int]]:
    """Groups the indices of `sizes`, in order, so that each group sums to at most `largest` or has one
    member."""
    groups: list[list[int]] = []
    total = 0
    for index, size in enumerate(sizes):
        if not groups or total + size > largest:
            groups.append([])
            total = 0
        groups[-1].append(index)
        total += size
    return groups


def _average(gradients: list[jt.Var], what: str) -> list[jt.Var]:
    flat = jt.concat([gradient.reshape(-1) for gradient in gradients]).stop_grad()
    if _on_devices():
        flat.sync()
        mpi.arrive(what)
        flat = flat.mpi_all_reduce("add").stop_grad()
    elif jt.flags.use_cuda:
        host = flat.numpy()
        mpi.all_reduce(host, "sum", what)
        flat = jt.array(host).stop_grad()
    else:
        mpi.all_reduce(flat.data, "sum", what)  # in place, in the Var's memory
    parts, first = [], 0
    for gradient in gradients:
        size = gradient.numel()
        parts.append(
            (flat[first : first + size].reshape(gradient.shape) * (1.0 / mpi.world_size())).stop_grad()
        )
        first += size
    return parts


def _on_devices() -> bool:
    """Whether sums use NCCL: Jittor found it, and no two processes of this machine share a GPU."""
    return bool(
        jt.flags.use_cuda
        and jt.compile_extern.nccl_ops is not None
        and mpi.local_size() <= jt.get_device_count()
    )
