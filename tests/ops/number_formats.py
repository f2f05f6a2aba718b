"""The number format that the tests of operators compute in, and how near to float64 that comes.

Usually float32 on a processor. `JSEG_DEVICE=cuda JSEG_PRECISION=tf32 pytest tests/ops` computes on a GPU in
TF32, and so on. Operands are drawn from the format, so that its rounding of operands is no error of the
kernels.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from emulated import round_to
from plain_attention import to_tf32

from jseg.ops.precision import lower
from jseg.runtime.backend import jt
from jseg.runtime.device import wanted_precision

ON_GPU = bool(jt.flags.use_cuda)
PRECISION = wanted_precision() if ON_GPU or wanted_precision() == "bfloat16" else "float32"
"""Of products. A processor rounds operands to bfloat16, and has no TF32."""

_SMALLEST_LIMITS = {("float32", False): 0.0, ("float32", True): 1e-5, ("tf32", True): 2e-3}
_BFLOAT16_LIMIT = 2e-2
"""Four times or more what the emulated kernels reach in the tests of attention: 2e-6, 4e-4, 5e-3."""

needs_float32 = pytest.mark.skipif(
    PRECISION != "float32", reason=f"{PRECISION} has too few digits for this comparison"
)
"""For differences of nearly equal numbers, and counts that a sum must hit."""


def rounded(x: np.ndarray) -> np.ndarray:
    """The nearest numbers of the format, as float32."""
    if PRECISION == "bfloat16":
        return round_to(x, "Bfloat")
    return to_tf32(x) if PRECISION == "tf32" else np.asarray(x, np.float32)


def limit(processor: float, products: bool = True) -> float:
    """Largest error relative to the largest value, where a processor's in float32 is at most `processor`.

    Exact float32 on a GPU is made of three TF32 products, which
    keep 22 bits, with the GPU's fast exponential.

    Args:
        products: there are matrix products; all else is float32 in any format.
    """
    if products and PRECISION == "bfloat16":
        return max(processor, _BFLOAT16_LIMIT)
    return max(processor, _SMALLEST_LIMITS[PRECISION if products else "float32", ON_GPU])


def in_format(operator: Callable[..., jt.Var]) -> Callable[..., jt.Var]:
    """The operator as models call it: operands lowered to the
    format, the result converted back to float32."""

    def call(*arguments: Any, **options: Any) -> jt.Var:
        lowered: tuple[Any, ...] = tuple(lower(x)[0] if isinstance(x, jt.Var) else x for x in arguments)
        return operator(*lowered, **options).float32()

    return call
