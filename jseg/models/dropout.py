"""Dropout whose rate is an argument of the call: nothing depends on a module's mode by accident."""

from jseg.ops.randomness import keep_mask, next_seed
from jseg.runtime.backend import jt


def dropout(x: jt.Var, rate: float) -> jt.Var:
    """Zeroes elements of x (B, ..., n) with probability `rate`, scales the others by 1 / (1 - rate); 0 returns x."""
    if rate == 0:
        return x
    return x * keep_mask(x.shape, rate, next_seed()) * (1.0 / (1.0 - rate))
