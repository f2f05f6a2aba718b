"""Plain Jittor layer normalisation: the documentation of the fused kernels, and their stand-in where none applies."""

from jseg.runtime.backend import jt


def layer_norm_reference(x: jt.Var, weight: jt.Var, bias: jt.Var, eps: float = 1e-5) -> jt.Var:
    """(x − mean) / √(variance + eps) · weight + bias over the last axis; arguments as in `layer_norm`."""
    centred = x - x.mean(-1, keepdims=True)
    return centred / jt.sqrt((centred * centred).mean(-1, keepdims=True) + eps) * weight + bias
