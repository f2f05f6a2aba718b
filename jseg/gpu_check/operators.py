"""Stage "operators" of `tools/gpu_check.py`, which compares single operators with float64 NumPy."""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np

from jseg.gpu_check.processes import ROOT
from jseg.runtime.device import wanted_precision

OP_TOLERANCES = {"float32": 2e-5, "tf32": 4e-3, "bfloat16": 3e-2}
"""Largest difference from float64, relative to the largest value, of outputs and gradients of one operator.

It is a few units in the last place of the format, times the errors that a sum of several hundred products
collects."""


def op_stage(small: bool) -> dict[str, Any]:
    """Measures the largest error of each operator's output and gradients against float64 NumPy."""
    sys.path.append(str(ROOT / "tests" / "ops"))
    from op_references import (
        attention_float64,
        gradients,
        layer_norm_float64,
        region_attention_float64,
        relative_error,
    )

    from jseg.ops import RegionLayout, attention, layer_norm, linear, region_attention
    from jseg.ops.precision import lower
    from jseg.runtime.backend import jt

    rng = np.random.default_rng(0)
    heads, channels, batch = (2, 64, 2) if small else (12, 64, 2)
    width = heads * channels
    layout = RegionLayout((4, 4) if small else (32, 32), (2, 2) if small else (4, 4), 11, skipped=10)

    def draw(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    def error(
        function: Callable[..., Any],
        inputs: tuple[np.ndarray, ...],
        expected: np.ndarray,
        expected_gradients: tuple[np.ndarray, ...],
        weights: np.ndarray,
    ) -> float:
        variables = tuple(jt.array(x) for x in inputs)
        output = function(*variables)
        pairs = [(output.numpy(), expected), *zip(gradients(output, weights, variables), expected_gradients)]
        return max(relative_error(found, wanted) for found, wanted in pairs)

    errors: dict[str, float] = {}
    x, weight, d = draw(64, width), draw(48, width), draw(64, 48)
    wide = [a.astype(np.float64) for a in (x, weight, d)]
    errors["linear"] = error(
        linear, (x, weight), wide[0] @ wide[1].T, (wide[2] @ wide[1], wide[2].T @ wide[0]), d
    )
    q, k, v, d = (draw(batch, rows, width) for rows in (65, 70, 70, 65))
    errors["attention"] = error(
        lambda *a: attention(*lower(*a), heads).float32(),
        (q, k, v),
        *attention_float64(q, k, v, heads, None, d),
        d,
    )
    q, k, v, d = (draw(batch, 77, width) for _ in range(4))
    errors["causal attention"] = error(
        lambda *a: attention(*lower(*a), heads, causal=True).float32(),
        (q, k, v),
        *attention_float64(q, k, v, heads, np.tri(77, dtype=bool), d),
        d,
    )
    qkv, d = draw(batch, layout.tokens, 3 * width), draw(batch, layout.tokens, width)
    expected, gradient = region_attention_float64(qkv, heads, layout, d)
    errors["region attention"] = error(
        lambda a: region_attention(*lower(a), heads, layout).float32(), (qkv,), expected, (gradient,), d
    )
    x, scale, shift, d = draw(batch, 70, width), draw(width), draw(width), draw(batch, 70, width)
    errors["layer_norm"] = error(
        layer_norm, (x, scale, shift), *layer_norm_float64(x, scale, shift, 1e-5, d), d
    )
    tolerance = OP_TOLERANCES[wanted_precision()]
    return {
        "errors": errors,
        "tolerance": tolerance,
        "failed": [name for name, value in errors.items() if not value <= tolerance],
    }
