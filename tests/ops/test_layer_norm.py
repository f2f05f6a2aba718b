"""Layer normalisation against float64 NumPy."""

import numpy as np
import pytest
from number_formats import ON_GPU, limit
from op_references import gradients, layer_norm_float64, relative_error

from jseg.ops import layer_norm
from jseg.runtime.backend import jt


def case(shape: tuple[int, ...], mean: float = 0.0) -> tuple[np.ndarray, ...]:
    """Returns x, weight, bias, and the weights of the output in the loss."""
    rng = np.random.default_rng(3)
    x = (rng.standard_normal(shape) + mean).astype(np.float32)
    weight, bias = (rng.standard_normal(shape[-1]).astype(np.float32) for _ in range(2))
    return x, weight, bias, rng.standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 5, 63), (3, 7, 64), (1, 165, 128), (2, 3, 65)])
def test_values_and_gradients(either_path: str, shape: tuple[int, ...]) -> None:
    """Covers widths around the 64 columns that the gradient of the weights processes at a time."""
    x, weight, bias, weights = case(shape)
    expected, expected_gradients = layer_norm_float64(x, weight, bias, 1e-5, weights)
    variables = tuple(jt.array(a) for a in (x, weight, bias))
    output = layer_norm(*variables, 1e-5)
    assert relative_error(output.numpy(), expected) < limit(2e-6, products=False)
    found = gradients(output, weights, variables)
    for name, actual, wanted in zip(("x", "weight", "bias"), found, expected_gradients):
        assert relative_error(actual, wanted) < limit(2e-5, products=False), name


def test_other_ranks() -> None:
    for shape in [(6,), (4, 6), (2, 1, 3, 6)]:
        x, weight, bias, weights = case(shape)
        expected, _ = layer_norm_float64(x, weight, bias, 1e-6, weights)
        output = layer_norm(jt.array(x), jt.array(weight), jt.array(bias), 1e-6)
        assert relative_error(output.numpy(), expected) < limit(2e-6, products=False)


def test_large_mean_keeps_its_digits(either_path: str) -> None:
    """E[x²] − E[x]², as Jittor computes it, loses the variance beside a squared mean of 1e6."""
    x, weight, bias, weights = case((2, 8, 128), mean=1e3)
    expected, expected_gradients = layer_norm_float64(x, weight, bias, 1e-5, weights)
    variables = tuple(jt.array(a) for a in (x, weight, bias))
    output = layer_norm(*variables, 1e-5)
    # On a GPU, Jittor sums a row in one thread, one value after the other.
    tolerance = 1e-3 if ON_GPU else 3e-4
    assert relative_error(output.numpy(), expected) < tolerance
    for actual, wanted in zip(gradients(output, weights, variables), expected_gradients):
        assert relative_error(actual, wanted) < tolerance
    mean = x.mean(-1, keepdims=True)
    naive = (x - mean) / np.sqrt(
        (x * x).mean(-1, keepdims=True) - mean * mean + np.float32(1e-5)
    ) * weight + bias
    assert relative_error(naive, expected) > 1e-2  # the test can fail


@pytest.mark.parametrize("dtype, most", [("float16", 2e-3), ("bfloat16", 1.6e-2)])
def test_low_precision_outside_the_kernels(dtype: str, most: float) -> None:
    """On the CPU, the plain version computes 16-bit inputs without overflow.

    Squares of several hundred are infinite in float16, and the result used to be 0. Limits are half a unit in
    the last place of the largest number, doubled for the rounding of gradients.
    """
    x, weight, bias, weights = case((2, 5, 64))
    variables = tuple(jt.array(a).cast(dtype) for a in (300 * x, weight, bias))
    arrays = [a.float32().numpy() for a in variables]
    expected, expected_gradients = layer_norm_float64(*arrays, 1e-5, weights)
    output = layer_norm(*variables, 1e-5)
    assert output.dtype == dtype
    assert relative_error(output.float32().numpy(), expected) < most
    found = jt.grad((output.float32() * jt.array(weights)).sum(), list(variables))
    for actual, wanted in zip(found, expected_gradients):
        assert actual.dtype == dtype
        assert relative_error(actual.float32().numpy(), wanted) < 2 * most


def test_eps_counts() -> None:
    """A constant row gives the bias and not NaN, and a row of variance eps has half its power."""
    one, zero = jt.ones((2,)), jt.zeros((2,))
    assert np.array_equal(layer_norm(jt.ones((1, 1, 2)) * 7, one, zero + 3, 1e-5).numpy(), [[[3, 3]]])
    assert np.allclose(
        layer_norm(jt.array(np.float32([[[-0.1, 0.1]]])), one, zero, 0.01).numpy(),
        np.array([[[-1, 1]]]) / np.sqrt(2),
    )


def test_wrong_width_names_the_shapes() -> None:
    with pytest.raises(ValueError, match=r"\bx \[1, 6\], weight \[5\], bias \[6\]"):
        layer_norm(jt.zeros((1, 6)), jt.ones((5,)), jt.zeros((6,)))
