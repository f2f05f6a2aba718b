"""The fused operators on a real GPU, through Jittor, against float64 NumPy; skipped where Jittor has none."""

from typing import Iterator, Tuple

import numpy as np
import pytest
from emulated import round_to
from op_references import (attention_float64, dropout_factors, gradients, layer_norm_float64, region_attention_float64,
                           relative_error)
from plain_attention import plain_attention

from jseg.ops import RegionLayout, attention, layer_norm, region_attention
from jseg.runtime.backend import jt

pytestmark = pytest.mark.skipif(not jt.has_cuda, reason="Jittor has no CUDA here: no GPU, or no toolkit")

NAMES = {"float32": "Float", "float16": "Half", "bfloat16": "Bfloat"}


@pytest.fixture(autouse=True)
def on_gpu() -> Iterator[None]:
    with jt.flag_scope(use_cuda=1):
        yield


def device(dtype: str, *arrays: np.ndarray) -> Tuple[jt.Var, ...]:
    return tuple(jt.array(x).cast(dtype) for x in arrays)


def normal(dtype: str, *shape: int, seed: int = 0) -> np.ndarray:
    return round_to(np.random.default_rng(seed).standard_normal(shape), NAMES[dtype])


def assert_precise(dtype: str, actual, exact, plain) -> None:
    """float32: rounding errors, with the GPU's fast exponential. Else at most 2x (gradients 3x) plain operators."""
    for i, (x, y, z) in enumerate(zip(actual, exact, plain)):
        limit = 1e-5 if dtype == "float32" else (3 if i else 2) * relative_error(z, y) + 1e-6
        assert relative_error(x, y) <= limit, f"result {i}"


def values(output: jt.Var, d: np.ndarray, variables: Tuple[jt.Var, ...]) -> Tuple[np.ndarray, ...]:
    grads = gradients(output.float32(), d, variables)
    return tuple(np.asarray(x, np.float32) for x in (output.float32().numpy(), *grads))


@pytest.mark.parametrize("dtype", NAMES)
@pytest.mark.parametrize("batch, heads, channels, queries, keys, causal, dropout", [
    (3, 2, 64, 65, 130, False, 0.0), (1, 1, 13, 40, 33, False, 0.0), (2, 8, 64, 77, 77, True, 0.0),
    (2, 2, 32, 70, 50, False, 0.3), (1, 4, 128, 300, 1051, False, 0.0), (1, 8, 64, 1024, 5000, False, 0.1)])
def test_attention(dtype: str, batch: int, heads: int, channels: int, queries: int, keys: int, causal: bool,
                   dropout: float) -> None:
    width = heads * channels
    q, d = (normal(dtype, batch, queries, width, seed=i) for i in (0, 1))
    k, v = (normal(dtype, batch, keys, width, seed=i) for i in (2, 3))
    np.random.seed(5)
    seed = np.random.randint(2**31)
    np.random.seed(5)
    variables = device(dtype, q, k, v)
    actual = values(attention(*variables, heads, causal, dropout), d, variables)
    allowed = np.tri(queries, keys, dtype=bool) if causal else None
    factors = dropout_factors(batch, heads, queries, keys, dropout, seed) if dropout else None
    output, grads = attention_float64(q, k, v, heads, allowed, d, factors)
    assert_precise(dtype, actual, (output, *grads), plain_attention(NAMES[dtype], q, k, v, d, heads, allowed, factors))


@pytest.mark.parametrize("dtype", NAMES)
@pytest.mark.parametrize("grid, regions, prefix, skipped", [
    ((4, 4), (2, 2), 11, 10), ((7, 5), (3, 2), 1, 0), ((3, 4), (0, 0), 1, 0), ((2, 3), (4, 4), 3, 2),
    ((32, 32), (1, 1), 11, 10), ((32, 32), (4, 4), 11, 10), ((32, 32), (32, 32), 11, 10), ((20, 30), (7, 7), 101, 100)])
def test_region_attention(dtype: str, grid: Tuple[int, int], regions: Tuple[int, int], prefix: int,
                          skipped: int) -> None:
    layout, heads, width = RegionLayout(grid, regions, prefix, skipped), 2, 128
    qkv, d = normal(dtype, 2, layout.tokens, 3 * width), normal(dtype, 2, layout.tokens, width, seed=1)
    variables = device(dtype, qkv)
    actual = values(region_attention(*variables, heads, layout), d, variables)
    expected = region_attention_float64(qkv, heads, layout, d)
    hidden = slice(prefix - skipped, prefix)
    assert not actual[0][:, hidden].any()
    d[:, hidden] = 0
    output, *parts = plain_attention(NAMES[dtype], *np.split(qkv, 3, axis=2), d, heads, layout.allowed())
    output[:, hidden] = 0
    assert_precise(dtype, actual, expected, (output, np.concatenate(parts, axis=2)))


@pytest.mark.parametrize("dtype, limit", [("float32", 2e-6), ("float16", 2e-3), ("bfloat16", 1.6e-2)])
def test_layer_norm(dtype: str, limit: float) -> None:
    x, d = (normal(dtype, 3, 1051, 768, seed=i) for i in (0, 1))
    weight, bias = (normal(dtype, 768, seed=i) for i in (2, 3))
    variables = device(dtype, x, weight, bias)
    output, grads = layer_norm_float64(x, weight, bias, 1e-5, d)
    for actual, expected in zip(values(layer_norm(*variables), d, variables), (output, *grads)):
        assert relative_error(actual, expected) < limit


def test_same_bits_again() -> None:
    layout = RegionLayout((32, 32), (4, 4), 11, 10)
    qkv, d = normal("bfloat16", 4, layout.tokens, 3 * 128), normal("bfloat16", 4, layout.tokens, 128, seed=1)
    runs = []
    for _ in range(5):
        variables = device("bfloat16", qkv)
        runs.append(values(region_attention(*variables, 2, layout), d, variables))
    assert all(np.array_equal(a, b) for run in runs[1:] for a, b in zip(run, runs[0]))
