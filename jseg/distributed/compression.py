"""Sums of gradients over processes in half the bytes, for slow networks.

Numbers travel as bfloat16: the upper half of float32, with its range. What rounding removes is kept, and
added to the numbers of the next call ("error feedback": Seide et al., "1-Bit Stochastic Gradient Descent",
2014), so that it is late, not lost. As in Tang et al., "1-bit Adam" (2021), this is done twice: by each
process for what it sends, and by the process that adds a part for the sum that it distributes.
"""

import sys

import numpy as np

from jseg.distributed import mpi

_BLOCK = 1 << 17
_UPPER = 1 if sys.byteorder == "little" else 0  # place of the upper half of a uint32


class Compression:
    """Adds arrays over all processes, again and again, with error feedback.

    Each of n processes sends and receives 4 * (n - 1) / n bytes per number, half of what a sum of float32
    needs. All get bitwise identical results.
    """

    def __init__(self) -> None:
        # Number of the message -> what rounding has removed from own numbers, and from own part of the sum.
        self._removed: dict[int, tuple[np.ndarray, np.ndarray]] = {}

    def reset(self) -> None:
        """Forgets what rounding has removed so far."""
        self._removed.clear()

    def sum(self, number: int, values: np.ndarray, what: str) -> None:
        """Replaces `values` by their sum.

        Args:
            number: which of the messages of an iteration this is.
            values: contiguous float32 (N,), with the same N in every call with this number.
        """
        ranks = mpi.world_size()
        length = -(-values.size // ranks)
        if number not in self._removed:
            self._removed[number] = np.zeros(length * ranks, np.float32), np.zeros(length, np.float32)
        own, part = self._removed[number]
        own[: values.size] += values
        for received in mpi.all_to_all(rounded(own), what).reshape(ranks, length):
            add(part, received)
        total = mpi.all_gather(rounded(part), what)
        values[:] = 0.0
        add(values, total[: values.size])


def rounded(values: np.ndarray) -> np.ndarray:
    """Rounds contiguous float32 (N,) to the nearest bfloat16, ties away from zero.

    Returns:
        Their bits, uint16 (N,). `values` keeps what rounding removed. An infinity or NaN stays what it is.
    """
    bits = np.empty(values.size, np.uint16)
    for block in _blocks(values.size):
        whole = values[block].view(np.uint32) + np.uint32(0x8000)
        bits[block] = whole.view(np.uint16)[_UPPER::2]
        whole &= np.uint32(0xFFFF0000)
        values[block] -= whole.view(np.float32)
    return bits


def add(values: np.ndarray, bits: np.ndarray) -> None:
    """Adds bfloat16 numbers, given as bits from `rounded`, to float32 (N,) in place."""
    for block in _blocks(values.size):
        whole = np.zeros(bits[block].size, np.uint32)
        whole.view(np.uint16)[_UPPER::2] = bits[block]
        values[block] += whole.view(np.float32)


def _blocks(size: int) -> list[slice]:
    """Parts that fit into a processor's cache, in which the steps above are several times as fast."""
    return [slice(first, min(first + _BLOCK, size)) for first in range(0, size, _BLOCK)]
