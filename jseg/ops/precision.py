"""Number format of matrix products and attention: float32, TF32 or bfloat16; all else stays float32.

The choice is `--precision` of the tools, or JSEG_PRECISION. TF32 is a switch of Jittor (`use_tensorcore`, set
when it is imported); for bfloat16 the operands are converted here and the results back: sums, normalisation,
losses, weights and their updates keep float32.
"""

from jseg.runtime.backend import jt
from jseg.runtime.device import wanted_precision


def lower(*inputs: jt.Var) -> tuple[jt.Var, ...]:
    """The float32 operands of a product in the format chosen; other types are left alone.

    Convert the result back with `.float32()`, which costs nothing where nothing was converted. On a
    processor, whose products of bfloat16 would also add up in bfloat16, operands are rounded and stay
    float32: what a GPU computes, but for the rounding of the result.
    """
    if wanted_precision() != "bfloat16":
        return inputs
    return tuple(_rounded(x) if x.dtype == "float32" else x for x in inputs)


def _rounded(x: jt.Var) -> jt.Var:
    low = x.bfloat16()
    return low if jt.flags.use_cuda else low.float32()
