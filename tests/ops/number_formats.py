"""The number format that the tests of operators compute in, and its error limits against float64.

The format is usually float32 on a CPU. `JSEG_DEVICE=cuda JSEG_PRECISION=tf32 pytest tests/ops` computes on a
GPU in TF32, and so on. Operands are drawn from the format, so that rounding them does not count as an error
of the kernels.
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
"""Format of products. A CPU rounds operands to bfloat16, and does not have TF32."""

_SMALLEST_LIMITS = {("float32", False): 0.0, ("float32", True): 1e-5, ("tf32", True): 2e-3}
_BFLOAT16_LIMIT = 2e-2
"""At least four times the errors of the emulated kernels in the tests of attention: 2e-6, 4e-4, 5e-3."""

needs_float32 = pytest.mark.skipif(
    PRECISION != "float32", reason=f"{PRECISION} has too few digits for this comparison"
)
"""For tests of differences of nearly equal numbers, and of counts that a sum must match."""


def rounded(x: np.ndarray) -> np.ndarray:
    """Rounds to the nearest numbers of the format, as float32."""
    if PRECISION == "bfloat16":
        return round_to(x, "Bfloat")
    return to_tf32(x) if PRECISION == "tf32" else np.asarray(x, np.float32)


def limit(cpu_limit: float, products: bool = True) -> float:
    """Returns the largest allowed error, relative to the largest value, in the format under test.

    Exact float32 on a GPU consists of three TF32 products, which keep 22 bits, and uses the GPU's fast
    exponential.

    Args:
        cpu_limit: the limit for float32 on a CPU.
        products: whether matrix products are involved. Everything else is float32 in any format.
    """
    if products and PRECISION == "bfloat16":
        return max(cpu_limit, _BFLOAT16_LIMIT)
    return max(cpu_limit, _SMALLEST_LIMITS[PRECISION if products else "float32", ON_GPU])


def in_format(operator: Callable[..., jt.Var]) -> Callable[..., jt.Var]:
    """Wraps an operator as models call it, with operands lowered to the format and a float32 result."""

    def call(*arguments: Any, **options: Any) -> jt.Var:
        lowered: tuple[Any, ...] = tuple(lower(x)[0] if isinstance(x, jt.Var) else x for x in arguments)
        return operator(*lowered, **options).float32()

    return call
