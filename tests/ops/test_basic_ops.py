"""linear, products_by_image, transpose_last and resize_bilinear against float64 NumPy."""

from collections.abc import Callable

import numpy as np
import pytest
from number_formats import PRECISION, limit, rounded
from op_references import gradients, relative_error, resize_bilinear_float64

from jseg.ops import linear, products_by_image, resize_bilinear, set_value, transpose_last
from jseg.ops.basic import _transpose_last_on_gpu
from jseg.runtime.backend import jt


def normal(*shape: int) -> np.ndarray:
    return rounded(np.random.default_rng(5).standard_normal(shape))


@pytest.mark.parametrize("leading", [(1, 1), (3, 5), (2, 64)])
def test_linear_values_and_gradients(either_path: str, leading: tuple[int, ...]) -> None:
    x, weight, bias, weights = normal(*leading, 17), normal(9, 17), normal(9), normal(*leading, 9)
    variables = tuple(jt.array(a) for a in (x, weight, bias))
    output = linear(*variables)
    wide = x.astype(np.float64)
    assert relative_error(output.numpy(), wide @ weight.T.astype(np.float64) + bias) < limit(2e-6)
    dx, dweight, dbias = gradients(output, weights, variables)
    flat, d = wide.reshape(-1, 17), weights.reshape(-1, 9).astype(np.float64)
    assert relative_error(dx, weights.astype(np.float64) @ weight) < limit(2e-6)
    assert relative_error(dweight, d.T @ flat) < limit(2e-6)
    assert relative_error(dbias, d.sum(0)) < limit(2e-6)


def test_linear_other_ranks_and_no_bias() -> None:
    weight = normal(9, 17)
    for leading in [(), (4,), (2, 1, 3)]:
        x = normal(*leading, 17)
        output = linear(jt.array(x), jt.array(weight)).numpy()
        assert relative_error(output, x.astype(np.float64) @ weight.T) < limit(2e-6)


def test_linear_widths_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"\[2, 3, 5\].*\[4, 6\]"):
        linear(jt.zeros((2, 3, 5)), jt.zeros((4, 6)))


def test_products_of_each_image() -> None:
    x, y, weights = normal(3, 5, 17), normal(3, 9, 17), normal(3, 5, 9)
    variables = (jt.array(x), jt.array(y))
    output = products_by_image(*variables)
    wide_x, wide_y, d = (array.astype(np.float64) for array in (x, y, weights))
    assert relative_error(output.numpy(), wide_x @ wide_y.swapaxes(1, 2)) < limit(2e-6)
    dx, dy = gradients(output, weights, variables)
    assert relative_error(dx, d @ wide_y) < limit(2e-6)
    assert relative_error(dy, d.swapaxes(1, 2) @ wide_x) < limit(2e-6)


def test_products_of_images_that_do_not_match() -> None:
    with pytest.raises(ValueError, match=r"\[2, 3, 5\].*\[1, 3, 5\]"):
        products_by_image(jt.zeros((2, 3, 5)), jt.zeros((1, 3, 5)))


@pytest.mark.parametrize("function", [transpose_last, _transpose_last_on_gpu])
@pytest.mark.parametrize("shape", [(3, 5), (2, 3, 5), (2, 1, 4, 3)])
def test_transpose_last(function: Callable[[jt.Var], jt.Var], shape: tuple[int, ...]) -> None:
    x = normal(*shape)
    weights = normal(*shape[:-2], shape[-1], shape[-2])
    variable = jt.array(x)
    output = function(variable)
    assert np.array_equal(output.numpy(), x.swapaxes(-1, -2))
    assert np.array_equal(gradients(output, weights, (variable,))[0], weights.swapaxes(-1, -2))


@pytest.mark.parametrize(
    "old, new",
    [
        ((3, 4), (6, 9)),
        ((7, 5), (3, 2)),
        ((1, 1), (4, 3)),
        ((1, 6), (5, 2)),
        ((5, 5), (1, 1)),
        ((4, 6), (4, 3)),
        ((12, 12), (5, 13)),
    ],
)
def test_resize_values_and_gradient(either_path: str, old: tuple[int, int], new: tuple[int, int]) -> None:
    """Covers larger and smaller sizes, from and to one pixel, and one side only."""
    x, weights = normal(2, 3, *old), normal(2, 3, *new)
    expected, gradient = resize_bilinear_float64(x, new, weights)
    variable = jt.array(x)
    output = resize_bilinear(variable, new)
    tolerance = limit(2e-6, products=PRECISION == "tf32")  # never bfloat16
    assert relative_error(output.numpy(), expected) < tolerance
    assert relative_error(gradients(output, weights, (variable,))[0], gradient) < tolerance


def test_resize_by_hand() -> None:
    """Two pixels 0 and 4 become four, with centres at -0.25, 0.25, 0.75 and 1.25, the outer ones clamped."""
    x = jt.array(np.float32([0, 4]).reshape(1, 1, 1, 2))
    assert np.array_equal(resize_bilinear(x, (1, 4)).numpy().reshape(-1), [0, 1, 3, 4])


def test_resize_to_the_same_size_changes_nothing() -> None:
    x = normal(1, 2, 3, 4)
    assert np.array_equal(resize_bilinear(jt.array(x), (3, 4)).numpy(), x)


def test_resize_to_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\b0x4\b"):
        resize_bilinear(jt.zeros((1, 1, 2, 2)), (0, 4))


@pytest.mark.parametrize("shape", [(1,), (3, 1, 1)])
def test_a_loaded_parameter_scales_a_map(shape: tuple[int, ...]) -> None:
    """A single number, such as a scale that a head learns, once made Jittor's code of the product invalid."""
    parameter, x, value = jt.zeros(shape), normal(2, 3, 4, 5), np.full(shape, 2.5)
    set_value(parameter, value)
    assert np.array_equal((parameter * jt.array(x)).numpy(), np.float32(value) * x)


@pytest.mark.parametrize("frozen", [(), ("x",), ("weight",), ("x", "bias")])
def test_linear_with_frozen_operands(either_path: str, frozen: tuple[str, ...]) -> None:
    rng = np.random.default_rng(4)
    arrays = {
        "x": rng.standard_normal((2, 5, 7)),
        "weight": rng.standard_normal((3, 7)),
        "bias": rng.standard_normal(3),
    }
    operands = {name: jt.array(array.astype(np.float32)) for name, array in arrays.items()}
    for name in frozen:
        operands[name] = operands[name].stop_grad()
    d = rng.standard_normal((2, 5, 3))
    wanted = {
        "x": d @ arrays["weight"],
        "weight": np.einsum("bno,bni->oi", d, arrays["x"]),
        "bias": d.sum((0, 1)),
    }
    trained = {name: value for name, value in operands.items() if name not in frozen}
    loss = (linear(**operands) * jt.array(d.astype(np.float32))).sum()
    for name, found in zip(trained, jt.grad(loss, list(trained.values()))):
        np.testing.assert_allclose(found.numpy(), wanted[name], rtol=1e-4, atol=1e-5)
