"""In bfloat16 products the operands are rounded, while results and gradients stay float32."""

import numpy as np
import pytest

from jseg.ops import linear
from jseg.ops.precision import lower
from jseg.runtime.backend import jt
from jseg.runtime.selection import select_device


def _linear(monkeypatch, precision):
    monkeypatch.setenv("JSEG_PRECISION", precision)
    rng = np.random.default_rng(0)
    x, weight = (jt.array(rng.standard_normal(shape).astype(np.float32)) for shape in ((6, 16), (4, 16)))
    y = linear(x, weight)
    gradients = jt.grad((y * y).sum(), [x, weight])
    assert {str(value.dtype) for value in (y, *gradients)} == {"float32"}
    return [value.numpy() for value in (y, *gradients)]


def test_bfloat16_is_near_float32_but_not_equal(monkeypatch):
    exact, rounded = _linear(monkeypatch, "float32"), _linear(monkeypatch, "bfloat16")
    for a, b in zip(exact, rounded):
        error = np.abs(a - b).max() / np.abs(a).max()
        assert 1e-5 < error < 2e-2


def test_only_float32_is_lowered(monkeypatch):
    values = np.float32([1 + 2**-9, 1 + 2**-6])  # bfloat16 has 8 bits
    monkeypatch.setenv("JSEG_PRECISION", "bfloat16")
    low, integers = lower(jt.array(values), jt.ones((2,), "int32"))
    assert low.float32().numpy().tolist() == [1, 1 + 2**-6] and integers.dtype == "int32"
    assert low.dtype == ("bfloat16" if jt.flags.use_cuda else "float32")
    monkeypatch.setenv("JSEG_PRECISION", "tf32")
    assert np.array_equal(lower(jt.array(values))[0].numpy(), values)


def test_unknown_precision_is_named(monkeypatch):
    monkeypatch.setenv("JSEG_PRECISION", "fp8")
    with pytest.raises(ValueError, match="JSEG_PRECISION=fp8.*float32, tf32, bfloat16"):
        select_device(None)
