"""Plain Jittor layer normalisation, which documents the kernels and replaces them where none applies."""

from jseg.runtime.backend import jt


def layer_norm_reference(x: jt.Var, weight: jt.Var, bias: jt.Var, eps: float = 1e-5) -> jt.Var:
    """Computes (x − mean) / √(variance + eps) · weight + bias over the last axis, as `layer_norm` does.

    The computation is in float32 at least, because squares of values above 255 are infinite in float16.
    """
    dtype = x.dtype
    if dtype in ("float16", "bfloat16"):
        x, weight, bias = x.float32(), weight.float32(), bias.float32()
    centred = x - x.mean(-1, keepdims=True)
    return (centred / jt.sqrt((centred * centred).mean(-1, keepdims=True) + eps) * weight + bias).cast(dtype)
