"""The CUDA attention kernels, run by the emulator, against float64 NumPy; their precision against plain attention."""

from typing import Sequence, Tuple

import numpy as np
import pytest
from emulated import DEPTH_FIRST, FORMATS, IN_STEP, RANDOM, REVERSED, Kernels, round_to
from op_references import attention_float64, dropout_factors, region_attention_float64
from plain_attention import plain_attention

from jseg.ops import RegionLayout

NAMES = ("output", "dq", "dk", "dv")


def normal(name: str, *shape: int, seed: int = 0) -> np.ndarray:
    return round_to(np.random.default_rng(seed).standard_normal(shape), name)


def error(actual: np.ndarray, expected: np.ndarray) -> float:
    """Largest difference, relative to the largest expected value. NaN counts as infinite."""
    assert actual.shape == expected.shape
    worst = np.abs(actual.astype(np.float64) - expected).max() / max(np.abs(expected).max(), 1e-3)
    return float(worst) if np.isfinite(worst) else np.inf


def assert_precise(name: str, actual: Sequence[np.ndarray], exact: Sequence[np.ndarray],
                   plain: Sequence[np.ndarray]) -> None:
    """Exact float32: rounding errors. Lower precision: at most 2x (gradients 3x) the error of plain operators."""
    for part, x, y, z in zip(NAMES, actual, exact, plain):
        factor = 2 if part == "output" else 3
        limit = {"output": 2e-6}.get(part, 4e-6) if name == "Float" else factor * error(z, y) + 1e-6
        assert error(x, y) <= limit, part


def in_order(results: Tuple[np.ndarray, Tuple[np.ndarray, ...]]) -> Tuple[np.ndarray, ...]:
    """output, (dq, dk, dv) -> output, dq, dk, dv."""
    return results[0], *results[1]


def check_attention(name: str, kernels: Kernels, batch: int, heads: int, channels: int, queries: int, keys: int,
                    causal: bool = False, dropout: float = 0.0) -> None:
    width = heads * channels
    q, d = normal(name, 2, batch, queries, width)
    k, v = normal(name, 2, batch, keys, width, seed=1)
    output, lse, *gradients = kernels.attention(q, k, v, d, heads, causal, dropout, seed=7)
    allowed = np.tri(queries, keys, dtype=bool) if causal else None
    factors = dropout_factors(batch, heads, queries, keys, dropout, 7) if dropout else None
    exact = in_order(attention_float64(q, k, v, heads, allowed, d, factors))
    plain = plain_attention(name, q, k, v, d, heads, allowed, factors)
    assert np.isfinite(lse).all()
    if keys == 1:  # the softmax of one score is constant: dq and dk are zero, and plain operators meet that exactly
        assert max(np.abs(g).max() for g in gradients[:2]) < 1e-2
        gradients[:2] = exact[1:3]
    assert_precise(name, (output, *gradients), exact, plain)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("batch, heads, channels, queries, keys", [
    (1, 1, 16, 1, 1), (3, 2, 16, 5, 1), (1, 2, 8, 63, 15), (2, 1, 16, 65, 64), (1, 3, 12, 70, 65), (1, 16, 16, 3, 33),
    (1, 1, 13, 40, 130), (1, 1, 16, 150, 200)])
def test_values_and_gradients(name: str, batch: int, heads: int, channels: int, queries: int, keys: int) -> None:
    """Sizes around the tiles; 8, 12 and 13 channels fill their rows in part, and 13 start at odd addresses."""
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
    """Equal scores and v the unit vectors: the output is the pattern itself."""
    keys, rate = 16, 0.3
    zeros = np.zeros((2, 40, 32), np.float32)
    v = np.tile(np.eye(keys, dtype=np.float32), (2, 1, 2))
    output = Kernels("Float", 16).attention(zeros, np.zeros_like(v), v, None, 2, dropout=rate, seed=12345)[0]
    pattern = output.reshape(2, 40, 2, keys).transpose(0, 2, 1, 3) * keys
    assert np.allclose(pattern, dropout_factors(2, 2, 40, keys, rate, 12345), atol=1e-6)


def test_dropout_does_not_depend_on_how_a_batch_is_spread() -> None:
    """The second picture of two, alone in another process, gets the pattern that it has beside the first."""
    q, k, v, d = (normal("Float", 2, n, 32, seed=i) for i, n in enumerate((20, 30, 30, 20)))
    both = Kernels("Float", 16).attention(q, k, v, d, 2, dropout=0.5, seed=9)
    alone = Kernels("Float", 16).attention(*(x[1:] for x in (q, k, v, d)), 2, dropout=0.5, seed=9, first_sample=1)
    assert all(np.array_equal(a[1:], b) for a, b in zip(both, alone))


@pytest.mark.parametrize("name", FORMATS)
def test_large_scores(name: str) -> None:
    """Scores of ±10,000: no overflow, and float32 loses only the digits that such a score lacks."""
    q, k, v, d = (normal(name, 1, n, 16, seed=i) for i, n in enumerate((40, 70, 70, 40)))
    q, k = round_to(50 * q, name), round_to(50 * k, name)
    output = Kernels(name, 16).attention(q, k, v, d, 1)
    exact, plain = attention_float64(q, k, v, 1, None, d), plain_attention(name, q, k, v, d, 1)
    assert all(np.isfinite(x).all() for x in output)
    assert error(output[0], exact[0]) <= 2 * error(plain[0], exact[0]) + 5e-3


LAYOUTS = [
    ((3, 3), (1, 1), 1, 0), ((4, 4), (2, 2), 11, 10), ((7, 5), (3, 2), 1, 0), ((9, 9), (3, 3), 2, 1),
    ((8, 8), (4, 4), 101, 100), ((8, 8), (8, 8), 2, 1), ((2, 3), (4, 4), 3, 2), ((3, 4), (0, 0), 1, 0),
    ((3, 5), (0, 0), 4, 3), ((5, 4), (2, 2), 3, 3), ((1, 60), (1, 7), 11, 10)]


def check_regions(name: str, kernels: Kernels, batch: int, heads: int, channels: int, layout: RegionLayout) -> None:
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
    assert_precise(name, (output, *np.split(gradient, 3, axis=2)), exact, plain)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("grid, regions, prefix, skipped", LAYOUTS)
def test_region_attention(name: str, grid: Tuple[int, int], regions: Tuple[int, int], prefix: int,
                          skipped: int) -> None:
    """Uneven windows, more windows than patches, none at all, prompts skipped or not, from 1 key a window to 81."""
    check_regions(name, Kernels(name, 16), 1, 2, 16, RegionLayout(grid, regions, prefix, skipped))


def test_region_attention_other_shapes() -> None:
    check_regions("Bfloat", Kernels("Bfloat", 64, RANDOM), 1, 1, 64, RegionLayout((7, 9), (3, 4), 11, 10))
    check_regions("Half", Kernels("Half", 16, REVERSED), 4, 1, 12, RegionLayout((5, 5), (2, 2), 2, 1))
    check_regions("Float", Kernels("Float", 16), 2, 3, 13, RegionLayout((5, 5), (2, 2), 2, 1))
    check_regions("Float", Kernels("Float", 16), 1, 1, 16, RegionLayout((16, 16), (16, 16), 11, 10))


def test_as_many_regions_as_patches_of_a_picture() -> None:
    """M = 1024 on 32 x 32 patches, and one region for all of them."""
    for regions in (32, 1):
        check_regions("Bfloat", Kernels("Bfloat", 16), 1, 1, 16, RegionLayout((32, 32), (regions, regions), 11, 10))


@pytest.mark.parametrize("name", ["Bfloat", "Float"])
def test_the_same_bits_under_every_schedule(name: str) -> None:
    """Whichever thread comes first: the sums have one order."""
    q, k, v, d = (normal(name, 1, 140, 32, seed=i) for i in range(4))
    layout = RegionLayout((6, 6), (2, 2), 11, 10)
    qkv, d_region = normal(name, 1, layout.tokens, 96), normal(name, 1, layout.tokens, 32, seed=1)
    runs = []
    for order in (IN_STEP, DEPTH_FIRST, REVERSED, RANDOM):
        for early_copies in (False, True):
            kernels = Kernels(name, 16, order, 3, early_copies)
            runs.append((*kernels.attention(q, k, v, d, 2, dropout=0.2),
                         *kernels.region_attention(qkv, d_region, 2, [6, 6, 2, 2, 11, 10])))
    assert all(np.array_equal(a, b) for run in runs[1:] for a, b in zip(run, runs[0]))
