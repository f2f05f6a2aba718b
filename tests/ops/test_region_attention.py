"""Region attention against float64 NumPy with the dense mask."""

import re

import numpy as np
import pytest
from number_formats import ON_GPU, PRECISION, in_format, limit, needs_float32, rounded
from op_references import gradients, region_attention_float64, relative_error

from jseg import ops
from jseg.ops import RegionLayout
from jseg.runtime.backend import jt

region_attention = in_format(ops.region_attention)


def arrays(batch: int, layout: RegionLayout, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Returns qkv and the weights of the output in the loss."""
    rng = np.random.default_rng(seed)
    return tuple(rounded(rng.standard_normal((batch, layout.tokens, n))) for n in (3 * width, width))


def assert_agrees(
    batch: int, layout: RegionLayout, heads: int, channels: int, size: float = 1.0, tolerance: float = 2e-6
) -> None:
    qkv, weights = arrays(batch, layout, heads * channels)
    qkv = rounded(size * qkv)
    expected, expected_gradient = region_attention_float64(qkv, heads, layout, weights)
    variable = jt.array(qkv)
    output = region_attention(variable, heads, layout)
    assert relative_error(output.numpy(), expected) < limit(tolerance)
    (gradient,) = gradients(output, weights, (variable,))
    for part in range(3):  # query, key and value, each relative to its own largest element
        columns = slice(part * heads * channels, (part + 1) * heads * channels)
        error = relative_error(gradient[..., columns], expected_gradient[..., columns])
        assert error < limit(3 * tolerance), "qkv"[part]


def prompted(grid: tuple[int, int], side: int, prompts: int) -> RegionLayout:
    """Returns a layout of CLS, K prompts that are keys only, patches, and side x side regions."""
    return RegionLayout(grid, (side, side), 1 + prompts, skipped=prompts)


@pytest.mark.parametrize(
    "grid, side, prompts, batch, heads, channels",
    [((4, 4), 2, 10, 1, 1, 16), ((5, 7), 3, 1, 2, 2, 32), ((3, 2), 4, 0, 1, 3, 8), ((6, 6), 0, 10, 2, 2, 16)],
)
def test_values_and_gradients(
    either_path: str, grid: tuple[int, int], side: int, prompts: int, batch: int, heads: int, channels: int
) -> None:
    """Covers even and uneven windows, more regions than patches, and no regions."""
    assert_agrees(batch, prompted(grid, side, prompts), heads, channels)


@pytest.mark.parametrize("prompts", [0, 1, 10, 100])
@pytest.mark.parametrize("side", [1, 2, 3, 4, 8, 16, 32])
def test_numbers_of_regions_and_prompts(side: int, prompts: int) -> None:
    """Covers M = 1 ... 1024 on a grid that is not square and that most of them do not divide."""
    assert_agrees(1, prompted((9, 14), side, prompts), 2, 16)


@pytest.mark.parametrize(
    "batch, heads, channels", [(1, 1, 128), (2, 3, 80), (3, 2, 24), (4, 16, 16), (1, 5, 64), (2, 1, 9)]
)
def test_batches_heads_and_channels(batch: int, heads: int, channels: int) -> None:
    assert_agrees(batch, prompted((7, 6), 3, 10), heads, channels)


@pytest.mark.parametrize("grid, regions", [((32, 32), (32, 32)), ((32, 32), (4, 4)), ((40, 25), (16, 16))])
def test_as_many_patches_as_an_image_has(grid: tuple[int, int], regions: tuple[int, int]) -> None:
    assert_agrees(1, RegionLayout(grid, regions, 11, skipped=10), 1, 64)


def test_windows_that_are_no_squares_and_nothing_skipped() -> None:
    assert_agrees(2, RegionLayout((6, 5), (2, 5), 3), 2, 16)
    assert_agrees(1, RegionLayout((6, 5), (1, 1), 4, skipped=4), 2, 16)  # no query before the patches


@pytest.mark.parametrize(
    "grid, side, prompts, batch, heads, channels",
    [
        ((4, 4), 2, 10, 1, 1, 16),
        ((5, 7), 3, 1, 2, 3, 24),
        ((6, 6), 0, 40, 2, 2, 64),
        ((32, 32), 4, 100, 1, 2, 64),
    ],
)
def test_gradients_of_prompts_alone(
    either_path: str, grid: tuple[int, int], side: int, prompts: int, batch: int, heads: int, channels: int
) -> None:
    """With frozen=True, keys and values of skipped tokens get the same gradients."""
    layout = prompted(grid, side, prompts)
    qkv, weights = arrays(batch, layout, heads * channels)
    expected, expected_gradient = region_attention_float64(qkv, heads, layout, weights)
    variable = jt.array(qkv)
    output = region_attention(variable, heads, layout, frozen=True)
    assert relative_error(output.numpy(), expected) < limit(2e-6)
    (gradient,) = gradients(output, weights, (variable,))
    wanted = np.s_[:, 1 : 1 + prompts, heads * channels :]
    assert relative_error(gradient[wanted], expected_gradient[wanted]) < limit(6e-6)


def test_frozen_needs_skipped_tokens() -> None:
    with pytest.raises(ValueError, match="frozen=True"):
        region_attention(jt.zeros((1, 5, 12)), 1, RegionLayout((2, 2), (0, 0), 1), frozen=True)


def test_large_scores(either_path: str) -> None:
    """Scores of several hundred make rows one-hot, and nothing overflows.

    Their derivatives are then differences of nearly equal numbers, of which few digits are left in low
    precision.
    """
    tolerance = 0.1 if PRECISION != "float32" else 5e-4 if ON_GPU else 1e-4
    assert_agrees(1, prompted((4, 4), 2, 1), 1, 16, size=15, tolerance=tolerance)


def test_a_region_without_patches_gives_its_own_value() -> None:
    """With 2x1 patches in 2x2 windows, two regions hold no patch and see only themselves."""
    layout = RegionLayout((2, 1), (2, 2), 1)
    qkv, _ = arrays(1, layout, 8)
    output = region_attention(jt.array(qkv), 1, layout).numpy()
    for token in (4, 6):  # windows of the right column: column 0 of 1 lies in window 0
        assert relative_error(output[0, token], qkv[0, token, 16:]) <= limit(0)


def test_patches_of_other_windows_do_not_matter() -> None:
    """Huge values outside a region's window must not leak into its row."""
    layout = prompted((4, 4), 2, 2)
    qkv, _ = arrays(1, layout, 8)
    spoiled = qkv.copy()
    spoiled[:, layout.prefix + 10 : layout.prefix + 12, 16:] = 1e20  # row 2, columns 2 and 3: window 3
    clean, dirty = (
        region_attention(jt.array(x), 2, layout).numpy()[0, layout.base :] for x in (qkv, spoiled)
    )
    assert np.array_equal(clean[:3], dirty[:3]) and not np.array_equal(clean[3], dirty[3])


def test_skipped_rows_are_zero_and_pass_nothing_back() -> None:
    layout = prompted((3, 3), 1, 4)
    qkv, weights = arrays(1, layout, 8)
    variable = jt.array(qkv)
    output = region_attention(variable, 1, layout)
    only_skipped = np.zeros_like(weights)
    only_skipped[:, 1:5] = weights[:, 1:5]
    assert not output.numpy()[:, 1:5].any() and output.numpy()[:, 0].all()
    assert not gradients(output, only_skipped, (variable,))[0].any()


@needs_float32
def test_gradient_by_finite_differences() -> None:
    """Moves qkv along a random direction, independently of any formula."""
    layout = prompted((3, 4), 2, 2)
    (qkv, weights), (direction, _) = arrays(2, layout, 16), arrays(2, layout, 16, seed=9)
    variable = jt.array(qkv)
    (gradient,) = gradients(region_attention(variable, 2, layout), weights, (variable,))

    def loss(step: float) -> float:
        output = region_attention(jt.array((qkv + step * direction).astype(np.float32)), 2, layout)
        return float((output.numpy().astype(np.float64) * weights).sum())

    assert (loss(1e-2) - loss(-1e-2)) / 2e-2 == pytest.approx(float((gradient * direction).sum()), rel=2e-3)


@pytest.mark.parametrize(
    "shape, heads", [((1, 20, 24), 1), ((1, 21, 25), 1), ((1, 21, 24), 3), ((21, 24), 1)]
)
def test_shapes_that_do_not_fit(shape: tuple[int, ...], heads: int) -> None:
    with pytest.raises(
        ValueError, match=rf"\b{heads} heads?\b.*\bqkv \(B, 21, .*{re.escape(str(list(shape)))}"
    ):
        ops.region_attention(jt.zeros(shape), heads, RegionLayout((4, 4), (2, 2), 1))


def test_wrong_type() -> None:
    with pytest.raises(ValueError, match="int32"):
        ops.region_attention(jt.zeros((1, 2, 6), dtype="int32"), 1, RegionLayout((1, 1), (0, 0), 1))
