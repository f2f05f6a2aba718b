"""Dropout patterns that do not depend on how a batch is spread over processes or accumulation steps.

Whether an element is kept is a hash of (seed of the call, row, column), where rows are counted over the whole
batch of an iteration. Calls take their seeds in turn from NumPy's global state, which every process sets
alike at the start of an iteration; the position of the first picture of this process is set beside it.
"""

from collections.abc import Sequence

import numpy as np

from jseg.runtime.backend import jt

_position = {"first_sample": 0}


def set_first_sample(position: int) -> None:
    """Says that the next batches begin with picture number `position` of the whole batch."""
    _position["first_sample"] = position


def first_sample() -> int:
    """Position of this process's first picture in the whole batch; 0 unless it was set."""
    return _position["first_sample"]


def next_seed() -> int:
    """Seed of one call, from NumPy's global random state."""
    return int(np.random.randint(2**31))


def keep_mask(shape: Sequence[int], rate: float, seed: int) -> jt.Var:
    """float32 0/1 of `shape` (B, ..., n): 0 with probability `rate`.

    Row r of the whole batch (all axes but the last are rows, counted in 64 bits) and column c give the
    kernels' pattern, in 32-bit arithmetic: mix(mix(low(r) ^ mix(seed + high(r))) + 0x9e3779b1 c) >= 2^32
    rate, with MurmurHash3's finalizer as mix, and low and high the halves of r.
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
    """A number as a uint32 Var: other values need no recompilation."""
    return jt.array(np.array([value & 0xFFFFFFFF], np.uint32))


def _mix(x: jt.Var) -> jt.Var:
    # Jittor computes such products in uint32 but names the result int32: each step is named anew.
    x = x.uint32()
    x = (x ^ (x >> _word(16)).uint32()).uint32()
    x = (x * _word(0x85EBCA6B)).uint32()
    x = (x ^ (x >> _word(13)).uint32()).uint32()
    x = (x * _word(0xC2B2AE35)).uint32()
    return (x ^ (x >> _word(16)).uint32()).uint32()
