"""Mean of gradients over processes in few, large messages.

The communication begins when the backward pass has ended. Overlapping the two was left out after measuring:
see benchmarks/README.md, `distributed.py`.
"""

from collections.abc import Sequence

from jseg.distributed import mpi
from jseg.runtime.backend import jt

BUCKET_NUMBERS = 1 << 24
"""Numbers in one message (64 MiB of float32), unless a single gradient has more."""


def average_gradients(gradients: Sequence[jt.Var], what: str = "gradients") -> list[jt.Var]:
    """The mean of each gradient over all processes, without gradients of their own; computes what is pending.

    All processes get the same bits. On GPUs with NCCL the messages stay on the devices.

    Args:
        gradients: float32, the same shapes in the same order in every process.
    """
    gradients = list(gradients)
    if mpi.world_size() == 1:
        return gradients
    averaged: list[jt.Var] = []
    for bucket in buckets([gradient.numel() for gradient in gradients]):
        averaged += _average([gradients[index] for index in bucket], what)
    return averaged


def buckets(sizes: Sequence[int], largest: int = BUCKET_NUMBERS) -> list[list[int]]:
    """Indices of `sizes` in order, grouped so that each group sums
    up to at most `largest` or has one member."""
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
        mpi.all_reduce(flat.data, "sum", what)  # in the Var's own memory
    parts, first = [], 0
    for gradient in gradients:
        size = gradient.numel()
        parts.append(
            (flat[first : first + size].reshape(gradient.shape) * (1.0 / mpi.world_size())).stop_grad()
        )
        first += size
    return parts


def _on_devices() -> bool:
    """Whether NCCL carries sums: Jittor found it and no two processes of this machine share a GPU."""
    return bool(
        jt.flags.use_cuda
        and jt.compile_extern.nccl_ops is not None
        and mpi.local_size() <= jt.get_device_count()
    )
