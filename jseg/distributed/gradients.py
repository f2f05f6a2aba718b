"""Averages gradients over processes in a few large messages.

Communication starts after the backward pass has ended. Measurements showed no benefit from overlapping the
two; see benchmarks/README.md, `distributed.py`.
"""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from jseg.distributed import mpi
from jseg.distributed.compression import Compression
from jseg.runtime.backend import jt

BUCKET_NUMBERS = 1 << 24
"""Elements in one message (64 MiB of float32), unless a single gradient has more."""


def average_gradients(
    gradients: Sequence[jt.Var], what: str = "gradients", compression: Compression | None = None
) -> list[jt.Var]:
    """Returns the mean of each gradient over all processes, detached, after computing pending operations.

    All processes get bitwise identical results. On GPUs with NCCL, the messages stay on the devices, unless
    they are compressed.

    Args:
        gradients: float32, with the same shapes in the same order on every process.
        compression: halves the bytes, at the price of rounding.
    """
    gradients = list(gradients)
    if mpi.world_size() == 1:
        return gradients
    averaged: list[jt.Var] = []
    for number, bucket in enumerate(buckets([gradient.numel() for gradient in gradients])):
        if compression is None:
            add = partial(mpi.all_reduce, operation="sum", what=what)
        else:
            add = partial(compression.sum, number, what=what)
        on_devices = compression is None and _on_devices()
        averaged += _average([gradients[index] for index in bucket], None if on_devices else add, what)
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


def _average(gradients: list[jt.Var], add: Callable[[np.ndarray], None] | None, what: str) -> list[jt.Var]:
    """`add`: replaces an array by its sum over all processes; None to add on the devices."""
    flat = jt.concat([gradient.reshape(-1) for gradient in gradients]).stop_grad()
    if add is None:
        flat.sync()
        mpi.arrive(what)
        flat = flat.mpi_all_reduce("add").stop_grad()
    elif jt.flags.use_cuda:
        host = flat.numpy()
        add(host)
        flat = jt.array(host).stop_grad()
    else:
        add(flat.data)  # in place, in the Var's memory
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
