"""The CUDA attention kernels, run by the emulator, against float64 NumPy and plain attention."""

import numpy as np
import pytest
from emulated import DEPTH_FIRST, FORMATS, IN_STEP, RANDOM, REVERSED, Kernels, round_to
from op_references import (
    assert_precise,
    attention_float64,
    dropout_factors,
    region_attention_float64,
    relative_error,
    saturated_bounds,
)
from plain_attention import plain_attention

from jseg.ops import RegionLayout

LIMITS = {"Float": (2e-6, 4e-6)}
"""Rounding errors of output and gradients in exact float32. Other formats are measured against plain
operators."""


def normal(name: str, *shape: int, seed: int = 0) -> np.ndarray:
    return round_to(np.random.default_rng(seed).standard_normal(shape), name)


def in_order(results: tuple[np.ndarray, tuple[np.ndarray, ...]]) -> tuple[np.ndarray, ...]:
    """Flattens output, (dq, dk, dv) into output, dq, dk, dv."""
    return results[0], *results[1]


def check_attention(
    name: str,
    kernels: Kernels,
    batch: int,
    heads: int,
    channels: int,
    queries: int,
    keys: int,
    causal: bool = False,
    dropout: float = 0.0,
) -> None:
    width = heads * channels
    q, d = normal(name, 2, batch, queries, width)
    k, v = normal(name, 2, batch, keys, width, seed=1)
    output, lse, *gradients = kernels.attention(q, k, v, d, heads, causal, dropout, seed=7)
    allowed = np.tri(queries, keys, dtype=bool) if causal else None
    factors = dropout_factors(batch, heads, queries, keys, dropout, 7) if dropout else None
    exact = in_order(attention_float64(q, k, v, heads, allowed, d, factors))
    plain = plain_attention(name, q, k, v, d, heads, allowed, factors)
    assert np.isfinite(lse).all()
    # The softmax of one score is constant, so dq and dk are zero, and plain operators give exactly that.
    if keys == 1:
        assert max(np.abs(g).max() for g in gradients[:2]) < 1e-2
        gradients[:2] = exact[1:3]
    assert_precise((output, *gradients), exact, plain, LIMITS.get(name))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize(
    "batch, heads, channels, queries, keys",
    [
        (1, 1, 16, 1, 1),
        (3, 2, 16, 5, 1),
        (1, 2, 8, 63, 15),
        (2, 1, 16, 65, 64),
        (1, 3, 12, 70, 65),
        (1, 16, 16, 3, 33),
        (1, 1, 13, 40, 130),
        (1, 1, 16, 150, 200),
    ],
)
def test_values_and_gradients(
    name: str, batch: int, heads: int, channels: int, queries: int, keys: int
) -> None:
    """Covers sizes around the tiles, and 8, 12 and 13 channels, which fill their rows in part.

    With 13 channels, rows start at odd addresses.
    """
    check_attention(name, Kernels(name, 16), batch, heads, channels, queries, keys)


@pytest.mark.parametrize("name", FORMATS)
def test_the_head_width_of_clip(name: str) -> None:
    check_attention(name, Kernels(name, 64, RANDOM), 1, 1, 64, 77, 77, causal=True)
    check_attention(name, Kernels(name, 64, DEPTH_FIRST), 1, 2, 48, 33, 140)


@pytest.mark.parametrize("name, width, channels", [("Bfloat", 32, 32), ("Half", 128, 80)])
def test_other_head_widths(name: str, width: int, channels: int) -> None:
    check_attention(name, Kernels(name, width), 1, 1, channels, 50, 90)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("length", [1, 64, 77, 129])
def test_causal(name: str, length: int) -> None:
    check_attention(name, Kernels(name, 16), 2, 1, 16, length, length, causal=True)


@pytest.mark.parametrize("name", FORMATS)
def test_dropout_follows_the_hash_of_the_cpu_kernels(name: str) -> None:
    check_attention(name, Kernels(name, 16), 3, 2, 16, 70, 33, dropout=0.4)
    check_attention(name, Kernels(name, 16), 1, 2, 16, 66, 66, causal=True, dropout=0.1)


def test_dropout_in_every_position() -> None:
    """With equal scores and unit vectors as v, the output is the pattern itself."""
    keys, rate = 16, 0.3
    zeros = np.zeros((2, 40, 32), np.float32)
    v = np.tile(np.eye(keys, dtype=np.float32), (2, 1, 2))
    output = Kernels("Float", 16).attention(zeros, np.zeros_like(v), v, None, 2, dropout=rate, seed=12345)[0]
    pattern = output.reshape(2, 40, 2, keys).transpose(0, 2, 1, 3) * keys
    assert np.allclose(pattern, dropout_factors(2, 2, 40, keys, rate, 12345), atol=1e-6)


def test_dropout_does_not_depend_on_how_a_batch_is_spread() -> None:
    """The second image of two, alone in another process, gets the same pattern as beside the first."""
    q, k, v, d = (normal("Float", 2, n, 32, seed=i) for i, n in enumerate((20, 30, 30, 20)))
    both = Kernels("Float", 16).attention(q, k, v, d, 2, dropout=0.5, seed=9)
    alone = Kernels("Float", 16).attention(
        *(x[1:] for x in (q, k, v, d)), 2, dropout=0.5, seed=9, first_sample=1
    )
    assert all(np.array_equal(a[1:], b) for a, b in zip(both, alone))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("times", [5, 50])
def test_large_scores(name: str, times: int) -> None:
    """For scores up to about 200, the kernels are as precise as plain operators.

    The log-sum-exp is float32 in every format, and the digits that it loses at such scores are allowed for.
    """
    q, k, v, d = (normal(name, 1, n, 16, seed=i) for i, n in enumerate((40, 70, 70, 40)))
    q = round_to(times * q, name)
    output, _, *gradients = Kernels(name, 16).attention(q, k, v, d, 1)
    exact, plain = in_order(attention_float64(q, k, v, 1, None, d)), plain_attention(name, q, k, v, d, 1)
    assert_precise((output, *gradients), exact, plain, extra=2.0**-24 * 4 * times)


@pytest.mark.parametrize(
    "name, rounding", [("Half", 2.0**-11), ("Bfloat", 2.0**-8), ("Tf32", 2.0**-11), ("Float", 2.0**-24)]
)
def test_scores_that_saturate_the_softmax(name: str, rounding: float) -> None:
    """Scores of ±10,000 do not overflow, and the gradients of q and k stay within their absolute bounds.

    The operands are exact in every format. The values differ by rounding only, and the gradients almost
    cancel.
    """
    q, k, v, d = (normal("Bfloat", 1, n, 16, seed=i) for i, n in enumerate((40, 70, 70, 40)))
    q = round_to(2500 * q, "Bfloat")
    output, _, dq, dk, dv = Kernels(name, 16).attention(q, k, v, d, 1)
    exact, (exact_dq, exact_dk, exact_dv) = attention_float64(q, k, v, 1, None, d)
    assert (
        relative_error(output, exact) < rounding + 1e-3 and relative_error(dv, exact_dv) < 2 * rounding + 1e-3
    )
    bounds = saturated_bounds(q, k, v, d, 1, rounding)
    assert np.abs(dq - exact_dq).max() < bounds[0] and np.abs(dk - exact_dk).max() < bounds[1]


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("which", range(4), ids=["q", "k", "v", "grad"])
def test_no_nan_disappears(name: str, which: int) -> None:
    """Every result that NaN reaches in float64 is NaN here."""
    inputs = [normal(name, 1, n, 16, seed=i) for i, n in enumerate((40, 70, 70, 40))]
    inputs[which][0, 33, 5] = np.nan
    output, _, *gradients = Kernels(name, 16).attention(*inputs, 1)
    exact = in_order(attention_float64(*inputs[:3], 1, None, inputs[3]))
    for actual, wanted in zip((output, *gradients), exact):
        assert np.isnan(actual[np.isnan(wanted)]).all()


LAYOUTS = [
    ((3, 3), (1, 1), 1, 0),
    ((4, 4), (2, 2), 11, 10),
    ((7, 5), (3, 2), 1, 0),
    ((9, 9), (3, 3), 2, 1),
    ((8, 8), (4, 4), 101, 100),
    ((8, 8), (8, 8), 2, 1),
    ((2, 3), (4, 4), 3, 2),
    ((3, 4), (0, 0), 1, 0),
    ((3, 5), (0, 0), 4, 3),
    ((5, 4), (2, 2), 3, 3),
    ((1, 60), (1, 7), 11, 10),
]


def check_regions(
    name: str, kernels: Kernels, batch: int, heads: int, channels: int, layout: RegionLayout
) -> None:
    width = heads * channels
    qkv, d = normal(name, batch, layout.tokens, 3 * width), normal(name, batch, layout.tokens, width, seed=1)
    sizes = [*layout.grid, *layout.regions, layout.prefix, layout.skipped]
    output, _, gradient = kernels.region_attention(qkv, d, heads, sizes)
    skipped = slice(layout.prefix - layout.skipped, layout.prefix)
    assert not output[:, skipped].any() and not gradient[:, skipped, :width].any()
    expected, expected_gradient = region_attention_float64(qkv, heads, layout, d)
    d[:, skipped] = 0
    plain = plain_attention(name, *np.split(qkv, 3, axis=2), d, heads, layout.allowed())
    plain[0][:, skipped] = 0
    exact = (expected, *np.split(expected_gradient, 3, axis=2))
    assert_precise((output, *np.split(gradient, 3, axis=2)), exact, plain, LIMITS.get(name))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("grid, regions, prefix, skipped", LAYOUTS)
def test_region_attention(
    name: str, grid: tuple[int, int], regions: tuple[int, int], prefix: int, skipped: int
) -> None:
    """Covers uneven windows, more windows than patches, no windows, and prompts skipped or not.

    Windows hold from 1 to 81 keys.
    """
    check_regions(name, Kernels(name, 16), 1, 2, 16, RegionLayout(grid, regions, prefix, skipped))


def test_region_attention_other_shapes() -> None:
    check_regions("Bfloat", Kernels("Bfloat", 64, RANDOM), 1, 1, 64, RegionLayout((7, 9), (3, 4), 11, 10))
    check_regions("Half", Kernels("Half", 16, REVERSED), 4, 1, 12, RegionLayout((5, 5), (2, 2), 2, 1))
    check_regions("Float", Kernels("Float", 16), 2, 3, 13, RegionLayout((5, 5), (2, 2), 2, 1))
    check_regions("Float", Kernels("Float", 16), 1, 1, 16, RegionLayout((16, 16), (16, 16), 11, 10))


def test_as_many_regions_as_patches_of_an_image() -> None:
    """Covers M = 1024 on 32 x 32 patches, and one region for all of them."""
    for regions in (32, 1):
        check_regions(
            "Bfloat", Kernels("Bfloat", 16), 1, 1, 16, RegionLayout((32, 32), (regions, regions), 11, 10)
        )


@pytest.mark.parametrize("name", ["Bfloat", "Float"])
def test_the_same_bits_under_every_schedule(name: str) -> None:
    """The sums have one order, whichever thread comes first."""
    q, k, v, d = (normal(name, 1, 140, 32, seed=i) for i in range(4))
    layout = RegionLayout((6, 6), (2, 2), 11, 10)
    qkv, d_region = normal(name, 1, layout.tokens, 96), normal(name, 1, layout.tokens, 32, seed=1)
    runs = []
    for order in (IN_STEP, DEPTH_FIRST, REVERSED, RANDOM):
        for early_copies in (False, True):
            kernels = Kernels(name, 16, order, 3, early_copies)
            runs.append(
                (
                    *kernels.attention(q, k, v, d, 2, dropout=0.2),
                    *kernels.region_attention(qkv, d_region, 2, [6, 6, 2, 2, 11, 10]),
                )
            )
    assert all(np.array_equal(a, b) for run in runs[1:] for a, b in zip(run, runs[0]))
