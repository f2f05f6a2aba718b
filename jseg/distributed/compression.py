"""Sums of gradients over processes in half the bytes, for slow networks.

Numbers travel as bfloat16: the upper half of float32, with its range. What rounding removes is kept, and
added to the numbers of the next call ("error feedback": Seide et al., "1-Bit Stochastic Gradient Descent",
2014), so that it is late, not lost. As in Tang et al., "1-bit Adam" (2021), this is done twice: by each
process for what it sends, and by the process that adds a part for the sum that it distributes.
"""

import sys

import numpy as np

from jseg.distributed import mpi


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
        sent = to_bfloat16(own)
        own -= from_bfloat16(sent)
        for received in mpi.all_to_all(sent, what).reshape(ranks, length):
            part += from_bfloat16(received)
        total = to_bfloat16(part)
        part -= from_bfloat16(total)
        values[:] = from_bfloat16(mpi.all_gather(total, what))[: values.size]


def to_bfloat16(values: np.ndarray) -> np.ndarray:
    """Rounds contiguous float32 to the nearest bfloat16, ties away from zero.

    Returns:
        Their bits, uint16 with the same shape. Infinities and NaN stay what they are.
    """
    return _upper(values.view(np.uint32) + np.uint32(0x8000)).copy()


def from_bfloat16(bits: np.ndarray) -> np.ndarray:
    """Returns the float32 numbers of bits from `to_bfloat16`."""
    values = np.zeros(bits.shape, np.uint32)
    _upper(values)[...] = bits
    return values.view(np.float32)


def _upper(bits: np.ndarray) -> np.ndarray:
    """The upper halves of uint32, a view."""
    return bits.view(np.uint16)[..., 1 if sys.byteorder == "little" else 0 :: 2]
