"""The CUDA layer normalisation, run by the emulator, against float64 NumPy."""

import numpy as np
import pytest
from emulated import RANDOM, Kernels, round_to
from op_references import layer_norm_float64, relative_error


@pytest.mark.parametrize("name, limit", [("Float", 1e-6), ("Half", 1e-3), ("Bfloat", 8e-3)])
@pytest.mark.parametrize("rows, width, mean", [(1, 1, 0), (5, 7, 0), (130, 40, 0), (3, 768, 0), (9, 64, 30)])
def test_values_and_gradients(name: str, limit: float, rows: int, width: int, mean: float) -> None:
    """Limits are twice half a unit in the last place. Thanks to two passes, a mean of 30 costs no digits."""
    rng = np.random.default_rng(0)
    x, d = (round_to(rng.standard_normal((rows, width)) + shift, name) for shift in (mean, 0))
    weight, bias = (round_to(rng.standard_normal(width), name) for _ in range(2))
    expected, gradients = layer_norm_float64(x, weight, bias, 1e-5, d)
    actual = Kernels(name, 16, RANDOM).layer_norm(x, weight, bias, 1e-5, d)
    for part, a, b in zip(("y", "dx", "dweight", "dbias"), actual, (expected, *gradients)):
        if np.abs(b).max() == 0:
            assert not np.abs(a).max() > 1e-6, part
        else:
            assert relative_error(a, b) < (limit if mean == 0 or name != "Float" else 1e-5), part
