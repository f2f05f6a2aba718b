"""Dropout whose rate is an argument of the call: nothing depends on a module's mode by accident."""

from jseg.runtime.backend import jt


def dropout(x: jt.Var, rate: float) -> jt.Var:
    """Zeroes elements with probability `rate`, scales the others by 1 / (1 - rate); 0 returns x itself."""
    if rate == 0:
        return x
    return x * (jt.random(x.shape) >= rate).float32() * (1.0 / (1.0 - rate))
