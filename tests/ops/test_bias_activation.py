"""Bias with QuickGELU and with ReLU against float64 NumPy."""

import math

import numpy as np
import pytest
from number_formats import limit
from op_references import gradients, relative_error

from jseg.ops import bias_gelu, bias_quick_gelu, bias_relu, dropout
from jseg.runtime.backend import jt


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def gelu_and_slope(t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    s = sigmoid(1.702 * t)
    return t * s, s * (1 + 1.702 * t * (1 - s))


def exact_gelu_and_slope(t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    phi = np.vectorize(lambda x: 0.5 * math.erfc(-x / math.sqrt(2)))(t)
    return t * phi, phi + t * np.exp(-(t**2) / 2) / math.sqrt(2 * math.pi)


def relu_and_slope(t: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.maximum(t, 0), (t > 0).astype(np.float64)


@pytest.mark.parametrize(
    "activation, formula",
    [(bias_quick_gelu, gelu_and_slope), (bias_gelu, exact_gelu_and_slope), (bias_relu, relu_and_slope)],
    ids=["quick_gelu", "gelu", "relu"],
)
@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 7, 37), (2, 5, 64)])
def test_values_and_gradients(either_path: str, activation, formula, shape: tuple[int, ...]) -> None:
    """Covers widths below, near and equal to whole vectors."""
    rng = np.random.default_rng(2)
    x, bias, weights = (4 * rng.standard_normal(s).astype(np.float32) for s in (shape, shape[-1:], shape))
    value, slope = formula(x.astype(np.float64) + bias)
    variables = jt.array(x), jt.array(bias)
    output = activation(*variables)
    assert relative_error(output.numpy(), value) < limit(2e-6, products=False)
    dx, dbias = gradients(output, weights, variables)
    assert relative_error(dx, weights * slope) < limit(5e-6, products=False)
    assert relative_error(dbias, (weights * slope).sum((0, 1))) < limit(5e-6, products=False)


def test_far_from_zero(either_path: str) -> None:
    """Inputs from -1e4 to 1e4 do not overflow the exponential and give no NaN."""
    x = np.linspace(-1e4, 1e4, 81, dtype=np.float32).reshape(1, 1, 81)
    variables = jt.array(x), jt.zeros((81,))
    output = bias_quick_gelu(*variables)
    assert np.allclose(output.numpy(), np.maximum(x, 0), atol=1e-6)
    assert np.allclose(gradients(output, np.ones_like(x), variables)[0], (x > 0) + 0.5 * (x == 0), atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 7, 37), (2, 80, 130)])
def test_relu_with_dropout(either_path: str, shape: tuple[int, ...]) -> None:
    """As if `dropout` followed, with its pattern, and the same numbers whether it is fused or not."""
    rng = np.random.default_rng(3)
    x, bias, weights = (rng.standard_normal(s).astype(np.float32) for s in (shape, shape[-1:], shape))
    np.random.seed(7)
    together = bias_relu(jt.array(x), jt.array(bias), 0.3)
    np.random.seed(7)
    apart = dropout(bias_relu(jt.array(x), jt.array(bias)), 0.3)
    np.testing.assert_array_equal(together.numpy(), apart.numpy())
    results = []
    for call in (lambda *v: bias_relu(*v, 0.3), lambda *v: dropout(bias_relu(*v), 0.3)):
        np.random.seed(7)
        variables = jt.array(x), jt.array(bias)
        results.append(gradients(call(*variables), weights, variables))
    for found, wanted in zip(*results):
        np.testing.assert_array_equal(found, wanted)


def test_an_impossible_rate_of_dropout(either_path: str) -> None:
    with pytest.raises(ValueError, match=r"rate in \[0, 1\).*1\.5"):
        bias_relu(jt.zeros((2, 6)), jt.ones((6,)), 1.5)


def test_wrong_width_names_the_shapes() -> None:
    with pytest.raises(ValueError, match=r"over 6 channels got a bias \[5\]"):
        bias_relu(jt.zeros((1, 6)), jt.ones((5,)))
