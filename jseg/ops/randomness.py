"""Dropout patterns that do not depend on how a batch is spread over processes or accumulation steps.

A hash of (seed of the call, row, column) decides whether an element is kept. Rows are counted over the whole
batch of an iteration. Each call draws its seed from NumPy's global random state, which every process sets to
the same value at the start of an iteration. The position of this process's first image is set with it.
"""

from collections.abc import Sequence

import numpy as np

from jseg.runtime.backend import jt

_position = {"first_sample": 0}


def set_first_sample(position: int) -> None:
    """Declares that the next batches begin with image number `position` of the whole batch."""
    _position["first_sample"] = position


def first_sample() -> int:
    """Returns the position of this process's first image in the whole batch, which is 0 unless it was set."""
    return _position["first_sample"]


def next_seed() -> int:
    """Draws the seed of one call from NumPy's global random state."""
    return int(np.random.randint(2**31))


def keep_mask(shape: Sequence[int], rate: float, seed: int) -> jt.Var:
    """Returns a float32 mask of `shape` (B, ..., n) that is 0 with probability `rate` and 1 elsewhere.

    The pattern is that of the kernels. All axes but the last are rows of the whole batch, counted in 64 bits.
    In 32-bit arithmetic, the element in row r and column c is kept if
    mix(mix(low(r) ^ mix(seed + high(r))) + 0x9e3779b1 c) >= 2^32 rate, where mix is the finaliser of
    MurmurHash3, and low and high are the halves of r.
    """
    shape = tuple(int(size) for size in shape)
    rows, columns = int(np.prod(shape[:-1])), shape[-1]
    first_row = first_sample() * (rows // shape[0])
    low = (jt.index((rows, columns), 0).uint32() + _word(first_row)).uint32()
    carried = (
        low < _word(first_row)
    ).uint32()  # rows that begin below a multiple of 2^32 and reach beyond it
    keys = _mix(low ^ _mix((carried + _word(seed + (first_row >> 32))).uint32()))
    bits = _mix(keys + (jt.index((rows, columns), 1).uint32() * _word(0x9E3779B1)).uint32())
    return (bits >= _word(int(rate * 2.0**32))).float32().reshape(shape).stop_grad()


def _word(value: int) -> jt.Var:
    """Returns an integer as a uint32 Var, so that new values do not need a recompilation."""
    return jt.array(np.array([value & 0xFFFFFFFF], np.uint32))


def _mix(x: jt.Var) -> jt.Var:
    # Jittor computes such products in uint32 but labels the result int32, so each step casts it again.
    x = x.uint32()
    x = (x ^ (x >> _word(16)).uint32()).uint32()
    x = (x * _word(0x85EBCA6B)).uint32()
    x = (x ^ (x >> _word(13)).uint32()).uint32()
    x = (x * _word(0xC2B2AE35)).uint32()
    return (x ^ (x >> _word(16)).uint32()).uint32()
