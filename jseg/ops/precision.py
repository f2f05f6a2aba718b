"""Number format of matrix products and attention: float32, TF32 or bfloat16.

The user chooses it with `--precision` of the tools, or with JSEG_PRECISION. TF32 is a switch of Jittor
(`use_tensorcore`) that is set when Jittor is imported. For bfloat16 the operands are converted here and the
results are converted back. Everything else stays float32: sums, normalisation, losses, weights and their
updates.
"""

from jseg.runtime.backend import jt
from jseg.runtime.device import wanted_precision


def lower(*inputs: jt.Var) -> tuple[jt.Var, ...]:
    """Converts the float32 operands of a product to the chosen format, and leaves other types alone.

    Convert the result back with `.float32()`, which costs nothing where nothing was converted. A CPU would
    also sum bfloat16 products in bfloat16. There the operands are rounded but stay float32, which gives what
    a GPU computes, except for the rounding of the result.
    """
    if wanted_precision() != "bfloat16":
        return inputs
    return tuple(_rounded(x) if x.dtype == "float32" else x for x in inputs)


def _rounded(x: jt.Var) -> jt.Var:
    low = x.bfloat16()
    low = low if jt.flags.use_cuda else low.float32()
    return low.stop_grad() if x.is_stop_grad() else low  # Jittor marks only what it is told
