"""Plain Jittor mean, which documents the fused kernel and replaces it where it does not apply."""

from jseg.runtime.backend import jt


def mean_difference_reference(x: jt.Var, target: jt.Var, power: int) -> jt.Var:
    """The mean of `mean_difference`, axis by axis: a single float32 sum would lose digits."""
    difference = x - target.detach()
    difference = difference.abs() if power == 1 else difference.sqr()
    while difference.ndim > 1:
        difference = difference.mean(-1)
    return difference.mean()
