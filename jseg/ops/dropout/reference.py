"""Plain Jittor dropout: some forty small operators for the hash."""

from jseg.ops.randomness import keep_mask, next_seed
from jseg.runtime.backend import jt


def dropout_reference(x: jt.Var, rate: float) -> jt.Var:
    """Arguments and result as in `dropout`, for a rate above 0."""
    return x * keep_mask(x.shape, rate, next_seed()).cast(x.dtype) * (1.0 / (1.0 - rate))
