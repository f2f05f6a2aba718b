"""Plain Jittor dropout, whose hash takes about forty small operators."""

from jseg.ops.randomness import keep_mask, next_seed
from jseg.runtime.backend import jt


def dropout_reference(x: jt.Var, rate: float) -> jt.Var:
    """Applies dropout with a rate above 0, with arguments and result as in `dropout`."""
    return x * keep_mask(x.shape, rate, next_seed()).cast(x.dtype) * (1.0 / (1.0 - rate))
