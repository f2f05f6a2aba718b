"""Inputs that the operators refuse, the messages they give, and empty inputs."""

import re
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from op_references import gradients

from jseg.ops import (
    RegionLayout,
    attention,
    bias_quick_gelu,
    bias_relu,
    dropout,
    layer_norm,
    linear,
    region_attention,
    resize_bilinear,
)
from jseg.runtime.backend import jt

LAYOUT = RegionLayout((2, 2), (1, 1), 1)

OPERATORS = {
    "attention": (lambda *x: attention(*x, 2), [(1, 3, 8)] * 3),
    "region attention": (lambda x: region_attention(x, 2, LAYOUT), [(1, 6, 24)]),
    "layer_norm": (layer_norm, [(2, 8), (8,), (8,)]),
    "dropout": (lambda x: dropout(x, 0.5), [(2, 8)]),
    "activation": (bias_relu, [(2, 8), (8,)]),
    "linear": (linear, [(2, 8), (3, 8), (3,)]),
    "resize_bilinear": (lambda x: resize_bilinear(x, (2, 2)), [(1, 1, 3, 3)]),
}
"""Name in messages -> call, and the shapes that it takes."""


def is_named(operator: str, message: str) -> bool:
    """Returns whether the message names the operator, with a space or an underscore between words."""
    return re.search(rf"\b{operator.replace(' ', '[ _]')}\b", message) is not None


CASES = [(name, i) for name, (_, shapes) in OPERATORS.items() for i in range(len(shapes))]


@pytest.mark.parametrize("name, position", CASES)
def test_arrays_of_numpy(either_path: str, name: str, position: int) -> None:
    call, shapes = OPERATORS[name]
    inputs = [jt.zeros(shape) for shape in shapes]
    call(*inputs)
    inputs[position] = inputs[position].numpy()
    with pytest.raises(TypeError) as failure:
        call(*inputs)
    message = str(failure.value)
    assert is_named(name, message) and "ndarray" in message and "jt.array" in message


@pytest.mark.parametrize(
    "name, position", [case for case in CASES if case[0] not in ("linear", "resize_bilinear")]
)
def test_other_types_and_mixtures(either_path: str, name: str, position: int) -> None:
    call, shapes = OPERATORS[name]
    for types in ("int32",), ("float32", "float64"):
        inputs = [jt.zeros(shape) for shape in shapes]
        inputs[position] = inputs[position].cast(types[-1])
        found = ", ".join(sorted({str(x.dtype) for x in inputs}))
        if found == "float64":
            continue  # all inputs have one floating-point type
        with pytest.raises(ValueError) as failure:
            call(*inputs)
        assert is_named(name, str(failure.value)) and found in str(failure.value)


@pytest.mark.parametrize(
    "heads, words",
    [(0, "0 (int)"), (-1, "-1 (int)"), (2.0, "2.0 (float)"), (np.int64(2), "2 (int64)"), ("2", "2 (str)")],
)
def test_heads_that_cannot_be(heads: object, words: str) -> None:
    x = jt.zeros((1, 6, 24))
    for call in lambda: attention(x, x, x, heads), lambda: region_attention(x, heads, LAYOUT):
        with pytest.raises(ValueError) as failure:
            call()
        assert "head" in str(failure.value) and words in str(failure.value)


@pytest.mark.parametrize(
    "shapes", [((1, 3, 8), (1, 0, 8)), ((1, 0, 8), (1, 0, 8)), ((1, 3, 0), (1, 3, 0)), ((0, 3, 0), (0, 3, 0))]
)
def test_no_keys_and_no_channels(either_path: str, shapes: Sequence[tuple[int, ...]]) -> None:
    """The kernel divides by the size of its packed keys, which once crashed the process."""
    q, k = (jt.zeros(shape) for shape in shapes)
    named = rf"^(?=.*\bkey)(?=.*\bchannel).*{re.escape(f'q {list(shapes[0])}, k {list(shapes[1])}')}"
    with pytest.raises(ValueError, match=named):
        attention(q, k, k, 1)


def test_regions_of_no_channels(either_path: str) -> None:
    with pytest.raises(ValueError, match=r"\bc\b.*\b1\b.*\[1, 6, 0\]"):
        region_attention(jt.zeros((1, 6, 0)), 1, LAYOUT)


@pytest.mark.parametrize("batch, queries", [(0, 3), (2, 0), (0, 0)])
def test_no_images_and_no_queries(either_path: str, batch: int, queries: int) -> None:
    """The result is empty and the gradients of the keys are zero."""
    variables = tuple(jt.ones((batch, n, 8)) for n in (queries, 5, 5))
    output = attention(*variables, 2, dropout=0.1)
    assert output.numpy().shape == (batch, queries, 8)
    found = gradients(output, np.zeros((batch, queries, 8), np.float32), variables)
    assert [g.shape for g in found] == [(batch, n, 8) for n in (queries, 5, 5)]
    assert not any(g.any() for g in found)


def test_regions_of_no_images(either_path: str) -> None:
    qkv = jt.zeros((0, 6, 24))
    output = region_attention(qkv, 2, LAYOUT)
    assert output.numpy().shape == (0, 6, 8)
    assert gradients(output, np.zeros((0, 6, 8), np.float32), (qkv,))[0].shape == (0, 6, 24)


@pytest.mark.parametrize("bias", [(2,), (3, 1), (1,)])
def test_linear_with_another_bias(bias: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"\bbias\b.*\[3, 8\].*{re.escape(str(list(bias)))}"):
        linear(jt.zeros((2, 8)), jt.zeros((3, 8)), jt.zeros(bias))


@pytest.mark.parametrize("shape", [(3, 4), (1, 3, 4), (1, 1, 1, 3, 4)])
def test_resize_of_other_than_four_axes(shape: tuple[int, ...]) -> None:
    with pytest.raises(
        ValueError, match=rf"\bresize_bilinear\b.*\(B, C, h, w\).*{re.escape(str(list(shape)))}"
    ):
        resize_bilinear(jt.zeros(shape), (2, 2))


@pytest.mark.parametrize(
    "sizes, words",
    [
        (((2.5, 2), (1, 1), 1, 0), "float, int"),
        (((2, 2), (1, 1.0), 1, 0), "float, int"),
        (((2, 2), (1, 1), np.int64(1), 0), "int, int64"),
        (((2, 2), (1, 1), 1, 0.0), "float, int"),
    ],
)
def test_layouts_of_other_than_integers(sizes: tuple, words: str) -> None:
    with pytest.raises(ValueError) as failure:
        RegionLayout(*sizes)
    assert words in str(failure.value)


@pytest.mark.parametrize("eps", [0, -1e-5, float("nan")])
def test_layer_norm_needs_eps(eps: float) -> None:
    one = jt.ones((4,))
    with pytest.raises(ValueError, match=rf"\beps\b.* {eps}\b"):
        layer_norm(jt.zeros((2, 4)), one, one, eps)


@pytest.mark.parametrize("shape", [(5,), ()])
def test_dropout_needs_rows(either_path: str, shape: tuple[int, ...]) -> None:
    x = jt.zeros(shape) if shape else jt.array(np.float32(1))
    with pytest.raises(ValueError, match=rf"\bx \(B, \.\.\., n\).*\b0\.5\b.*{re.escape(str(list(x.shape)))}"):
        dropout(x, 0.5)


@pytest.mark.parametrize("call", [bias_quick_gelu, bias_relu])
def test_bias_of_another_rank(call: Callable) -> None:
    with pytest.raises(ValueError, match=r"\bbias\b.*\[1, 6\]"):
        call(jt.zeros((1, 6)), jt.ones((1, 6)))
