"""The fused operators on a real GPU, through Jittor, against float64 NumPy and plain attention.

    JSEG_DEVICE=cuda pytest tests/ops/test_cuda_device.py

The tests use four number formats, and are skipped where Jittor has no GPU. `tools/gpu_check.py` also runs
them, after it has built all kernels in parallel.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from adamw_reference import assert_step
from emulated import round_to
from map_references import assert_best, assert_sums_and_gradients, random_copy
from op_references import (
    attention_float64,
    dropout_factors,
    gradients,
    layer_norm_float64,
    region_attention_float64,
    relative_error,
)
from plain_attention import plain_attention

from jseg.ops import RegionLayout, attention, layer_norm, region_attention
from jseg.ops.adamw.adamw import SLOTS
from jseg.runtime.backend import jt

pytestmark = pytest.mark.skipif(not jt.has_cuda, reason="Jittor computes on the CPU: JSEG_DEVICE is not cuda")

NAMES = {"float32": "Float", "tf32": "Tf32", "float16": "Half", "bfloat16": "Bfloat"}


@pytest.fixture(autouse=True)
def on_gpu() -> Iterator[None]:
    """Turns TF32 off, as `--precision float32` does, except in tests that ask for it."""
    with jt.flag_scope(use_cuda=1, use_tensorcore=0):
        yield


@pytest.fixture
def name(request: pytest.FixtureRequest) -> Iterator[str]:
    """The format under test, in which products are computed during the test."""
    with jt.flag_scope(use_tensorcore=int(request.param == "tf32")):
        yield request.param


def in_formats(cases: Sequence[tuple], float16_cases: Sequence[tuple]) -> list[tuple]:
    """Returns (format, *case) for all cases in the formats of `--precision`, and for some in float16.

    float16 uses the same kernels as bfloat16.
    """
    chosen = [(name, *case) for name in NAMES if name != "float16" for case in cases]
    return chosen + [("float16", *case) for case in float16_cases]


def device(name: str, *arrays: np.ndarray) -> tuple[jt.Var, ...]:
    return tuple(jt.array(x).cast("float32" if name == "tf32" else name) for x in arrays)


def normal(name: str, *shape: int, seed: int = 0) -> np.ndarray:
    return round_to(np.random.default_rng(seed).standard_normal(shape), NAMES[name])


def assert_precise(
    actual: Sequence[np.ndarray], exact: Sequence[np.ndarray], plain: Sequence[np.ndarray]
) -> None:
    """Asserts at most 2x (gradients 3x) the error of plain operators in the same format."""
    for i, (x, y, z) in enumerate(zip(actual, exact, plain)):
        assert relative_error(x, y) <= (3 if i else 2) * relative_error(z, y) + 1e-6, f"result {i}"


def assert_exact(actual: Sequence[np.ndarray], exact: Sequence[np.ndarray]) -> None:
    """Asserts that errors are rounding errors of float32, with the GPU's fast exponential."""
    for i, (x, y) in enumerate(zip(actual, exact)):
        assert relative_error(x, y) <= 1e-5, f"result {i}"


def values(output: jt.Var, d: np.ndarray, variables: tuple[jt.Var, ...]) -> tuple[np.ndarray, ...]:
    grads = gradients(output.float32(), d, variables)
    return tuple(np.asarray(x, np.float32) for x in (output.float32().numpy(), *grads))


SMALL_ATTENTION = [(3, 2, 64, 65, 130, False, 0.0), (2, 8, 64, 77, 77, True, 0.0)]
LARGE_ATTENTION = [
    (1, 1, 13, 40, 33, False, 0.0),
    (2, 2, 32, 70, 50, False, 0.3),
    (1, 2, 64, 1024, 5000, False, 0.1),
]
WIDE_ATTENTION = (1, 4, 128, 300, 1051, False, 0.0)  # computed by plain operators in float32


@pytest.mark.parametrize(
    "name, batch, heads, channels, queries, keys, causal, dropout",
    [
        *in_formats(SMALL_ATTENTION + LARGE_ATTENTION, SMALL_ATTENTION),
        ("float32", *WIDE_ATTENTION),
        ("bfloat16", *WIDE_ATTENTION),
    ],
    indirect=["name"],
)
def test_attention(
    name: str, batch: int, heads: int, channels: int, queries: int, keys: int, causal: bool, dropout: float
) -> None:
    width = heads * channels
    q, d = (normal(name, batch, queries, width, seed=i) for i in (0, 1))
    k, v = (normal(name, batch, keys, width, seed=i) for i in (2, 3))
    np.random.seed(5)
    seed = np.random.randint(2**31)
    np.random.seed(5)
    variables = device(name, q, k, v)
    actual = values(attention(*variables, heads, causal, dropout), d, variables)
    allowed = np.tri(queries, keys, dtype=bool) if causal else None
    factors = dropout_factors(batch, heads, queries, keys, dropout, seed) if dropout else None
    output, grads = attention_float64(q, k, v, heads, allowed, d, factors)
    if name == "float32":
        assert_exact(actual, (output, *grads))
    else:
        plain = plain_attention(NAMES[name], q, k, v, d, heads, allowed, factors)
        assert_precise(actual, (output, *grads), plain)


SMALL_LAYOUTS = [
    ((4, 4), (2, 2), 11, 10),
    ((7, 5), (3, 2), 1, 0),
    ((3, 4), (0, 0), 1, 0),
    ((2, 3), (4, 4), 3, 2),
]
LARGE_LAYOUTS = [
    ((32, 32), (1, 1), 11, 10),
    ((32, 32), (4, 4), 11, 10),
    ((32, 32), (32, 32), 11, 10),
    ((20, 30), (7, 7), 101, 100),
]


@pytest.mark.parametrize(
    "name, grid, regions, prefix, skipped",
    in_formats(SMALL_LAYOUTS + LARGE_LAYOUTS, SMALL_LAYOUTS),
    indirect=["name"],
)
def test_region_attention(
    name: str, grid: tuple[int, int], regions: tuple[int, int], prefix: int, skipped: int
) -> None:
    layout, heads, width = RegionLayout(grid, regions, prefix, skipped), 2, 128
    qkv, d = normal(name, 2, layout.tokens, 3 * width), normal(name, 2, layout.tokens, width, seed=1)
    variables = device(name, qkv)
    actual = values(region_attention(*variables, heads, layout), d, variables)
    expected = region_attention_float64(qkv, heads, layout, d)
    hidden = slice(prefix - skipped, prefix)
    assert not actual[0][:, hidden].any()
    if name == "float32":
        assert_exact(actual, expected)
        return
    d[:, hidden] = 0
    output, *parts = plain_attention(NAMES[name], *np.split(qkv, 3, axis=2), d, heads, layout.allowed())
    output[:, hidden] = 0
    assert_precise(actual, expected, (output, np.concatenate(parts, axis=2)))


@pytest.mark.parametrize("dtype, limit", [("float32", 2e-6), ("float16", 2e-3), ("bfloat16", 1.6e-2)])
def test_layer_norm(dtype: str, limit: float) -> None:
    x, d = (normal(dtype, 3, 1051, 768, seed=i) for i in (0, 1))
    weight, bias = (normal(dtype, 768, seed=i) for i in (2, 3))
    variables = device(dtype, x, weight, bias)
    output, grads = layer_norm_float64(x, weight, bias, 1e-5, d)
    for actual, expected in zip(values(layer_norm(*variables), d, variables), (output, *grads)):
        assert relative_error(actual, expected) < limit


def test_class_map() -> None:
    rng = np.random.default_rng(0)
    slid = [(0, 0), (0, 20), (12, 0), (12, 20)]
    copies = [
        random_copy(rng, 2, 171, (4, 4), (40, 52), (32, 32), slid),
        random_copy(rng, 2, 171, (7, 9), (50, 70), (56, 72), [(0, 0)], mirrored=True),
    ]
    assert_best(copies, (337, 471), np.linspace(0, 0.1, 171).astype(np.float32), error=1e-5)
    assert_best(copies[:1], (40, 52), np.zeros(171, np.float32), error=1e-5)


@pytest.mark.parametrize("grid, size", [((4, 3), (37, 21)), ((32, 32), (512, 512)), ((9, 8), (5, 8))])
def test_focal_dice(grid: tuple[int, int], size: tuple[int, int]) -> None:
    """Jittor compiles with --use_fast_math, whose exponential and division are less exact."""
    assert_sums_and_gradients(2, 15, grid, size, error=1e-5)


def test_adamw() -> None:
    assert_step([(1,), (3, 2), (32769,), (17, 300), (5,), *[(2, 2)] * SLOTS, (1025, 1023)])


def test_same_bits_again() -> None:
    layout = RegionLayout((32, 32), (4, 4), 11, 10)
    qkv, d = normal("bfloat16", 4, layout.tokens, 3 * 128), normal("bfloat16", 4, layout.tokens, 128, seed=1)
    runs = []
    for _ in range(5):
        variables = device("bfloat16", qkv)
        runs.append(values(region_attention(*variables, 2, layout), d, variables))
    assert all(np.array_equal(a, b) for run in runs[1:] for a, b in zip(run, runs[0]))
