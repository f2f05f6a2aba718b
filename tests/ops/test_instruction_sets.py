"""The CPU kernels built for instruction sets other than this machine's, with 4, 8 and 16 floats per vector.

Jittor builds for the machine it runs on, so the narrower versions would otherwise only run on older CPUs. The
version for aarch64 runs in an emulator if a cross compiler and qemu are installed (Debian:
g++-aarch64-linux-gnu, qemu-user).
"""

import platform
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from op_references import (
    attention_float64,
    dropout_factors,
    layer_norm_float64,
    region_attention_float64,
    relative_error,
)

from jseg.ops import RegionLayout
from jseg.runtime.environment import exact_division

SOURCE = Path(__file__).with_name("kernels.cpp")
HEADERS = Path(__file__).resolve().parents[2] / "jseg" / "ops"


class Target(NamedTuple):
    """An instruction set: the machine that runs it, the compiler options, and the floats per vector."""

    machine: str
    options: tuple[str, ...]
    lanes: int
    features: frozenset = frozenset()


TARGETS = {
    "sse2": Target("x86_64", ("-march=x86-64",), 4),
    "avx2": Target("x86_64", ("-march=x86-64", "-mavx2", "-mfma"), 8, frozenset({"avx2", "fma"})),
    "avx512": Target(
        "x86_64",
        ("-march=x86-64", "-mavx2", "-mfma", "-mavx512f", "-mavx512dq"),
        16,
        frozenset({"avx512f", "avx512dq"}),
    ),
    "aarch64": Target("aarch64", (), 4),
}
Kernels = Callable[..., list[np.ndarray]]


def first_found(*names: str) -> str | None:
    return next(filter(None, map(shutil.which, names)), None)


def tools(target: Target) -> tuple[str | None, tuple[str, ...]]:
    """Returns the compiler, or None if there is none, and the command that runs its programs."""
    if platform.machine() == target.machine:
        cpuinfo = Path("/proc/cpuinfo")
        able = cpuinfo.exists() and target.features <= set(cpuinfo.read_text().split())
        return (shutil.which("g++") if able else None), ()
    emulator = first_found(f"qemu-{target.machine}", f"qemu-{target.machine}-static")
    compilers = [
        f"{target.machine}-linux-gnu-g++{version}" for version in ("", "-14", "-13", "-12", "-11", "-10")
    ]
    return (first_found(*compilers), (emulator,)) if emulator and target.machine == "aarch64" else (None, ())


@pytest.fixture(scope="module", params=sorted(TARGETS))
def kernels(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Kernels:
    """Calls an operator of kernels.cpp with its numbers, its inputs and the shapes of its outputs."""
    target = TARGETS[request.param]
    compiler, runner = tools(target)
    if compiler is None:
        pytest.skip(f"nothing here builds and runs programs for {request.param}")
    program = tmp_path_factory.mktemp("kernels") / "kernels"
    options = [
        "-std=c++14",
        *exact_division(compiler, target.machine),
        "-Ofast",
        "-fopenmp",
        f"-I{HEADERS}",
        *target.options,
        *(["-static"] if runner else []),
    ]
    subprocess.run([compiler, *options, str(SOURCE), "-o", str(program)], check=True)

    def call(
        op: str,
        numbers: Sequence[float],
        inputs: Sequence[np.ndarray] = (),
        shapes: Sequence[tuple[int, ...]] = (),
    ) -> list[np.ndarray]:
        sent = b"".join(np.ascontiguousarray(x, np.float32).tobytes() for x in inputs)
        answer = subprocess.run(
            [*runner, str(program), op, *map(str, numbers)], input=sent, stdout=subprocess.PIPE, check=True
        ).stdout
        values = np.frombuffer(answer, np.float32) if shapes else np.array(answer.split(), int)
        ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
        assert not shapes or len(values) == ends[-1]
        return (
            [part.reshape(shape) for part, shape in zip(np.split(values, ends[:-1]), shapes)]
            if shapes
            else [values]
        )

    assert call("lanes", ())[0] == target.lanes
    return call


@pytest.mark.parametrize(
    "batch, heads, channels, queries, keys, causal, rate",
    [(1, 2, 24, 49, 513, 0, 0.0), (2, 1, 80, 60, 60, 1, 0.0), (1, 3, 9, 50, 270, 0, 0.3)],
)
def test_attention(
    kernels: Kernels, batch: int, heads: int, channels: int, queries: int, keys: int, causal: int, rate: float
) -> None:
    rng = np.random.default_rng(0)
    q, k, v, grad = (
        rng.standard_normal((batch, rows, heads * channels)).astype(np.float32)
        for rows in (queries, keys, keys, queries)
    )
    results = kernels(
        "attention",
        (batch, heads, channels, queries, keys, causal, rate, 7),
        (q, k, v, grad),
        [x.shape for x in (q, q, k, v)],
    )
    allowed = np.tril(np.ones((queries, keys), bool)) if causal else None
    factors = dropout_factors(batch, heads, queries, keys, rate, 7) if rate else None
    expected, expected_grads = attention_float64(q, k, v, heads, allowed, grad, factors)
    for actual, wanted in zip(results, (expected, *expected_grads)):
        assert relative_error(actual, wanted) < 5e-6


@pytest.mark.parametrize(
    "grid, regions, skipped", [((9, 14), (3, 3), 10), ((5, 3), (4, 4), 0), ((4, 4), (0, 0), 1)]
)
def test_region_attention(
    kernels: Kernels, grid: tuple[int, int], regions: tuple[int, int], skipped: int
) -> None:
    layout, heads, channels = RegionLayout(grid, regions, 11, skipped), 2, 24
    rng = np.random.default_rng(0)
    qkv, grad = (
        rng.standard_normal((2, layout.tokens, n * heads * channels)).astype(np.float32) for n in (3, 1)
    )
    output, d_qkv = kernels(
        "region_attention",
        (2, heads, channels, *grid, *regions, layout.prefix, skipped),
        (qkv, grad),
        (grad.shape, qkv.shape),
    )
    expected, expected_gradient = region_attention_float64(qkv, heads, layout, grad)
    assert relative_error(output, expected) < 2e-6
    assert relative_error(d_qkv, expected_gradient) < 5e-6


@pytest.mark.parametrize("rows, width", [(1, 1), (5, 67), (300, 128)])
def test_layer_norm(kernels: Kernels, rows: int, width: int) -> None:
    rng = np.random.default_rng(0)
    x, weight, bias, grad = (
        rng.standard_normal(shape).astype(np.float32)
        for shape in ((rows, width), width, width, (rows, width))
    )
    results = kernels(
        "layer_norm",
        (rows, width, 1e-5),
        (x, weight, bias, grad),
        ((rows, width), (rows, width), (width,), (width,)),
    )
    expected, expected_grads = layer_norm_float64(x, weight, bias, 1e-5, grad)
    for actual, wanted in zip(results, (expected, *expected_grads)):
        np.testing.assert_allclose(actual, wanted, rtol=1e-5, atol=3e-5)


@pytest.mark.parametrize("which", range(4), ids=["q", "k", "v", "grad"])
def test_attention_lets_no_nan_disappear(kernels: Kernels, which: int) -> None:
    """With -Ofast, compilers reverse comparisons as if there were no NaN, differently per instruction set."""
    rng = np.random.default_rng(0)
    inputs = [rng.standard_normal((1, rows, 24)).astype(np.float32) for rows in (60, 540, 540, 60)]
    for value in (np.nan, -np.nan, np.inf):
        inputs[which][0, 50, 3] = value
        shapes = [x.shape for x in (inputs[0], *inputs[:3])]
        results = kernels("attention", (1, 1, 24, 60, 540, 0, 0, 0), inputs, shapes)
        with np.errstate(all="ignore"):
            expected, expected_grads = attention_float64(*inputs[:3], 1, None, inputs[3])
        for actual, wanted in zip(results, (expected, *expected_grads)):
            assert np.array_equal(np.isfinite(actual), np.isfinite(wanted))


@pytest.mark.parametrize("rows, width", [(1, 1), (7, 37), (300, 256)])
def test_quick_gelu(kernels: Kernels, rows: int, width: int) -> None:
    rng = np.random.default_rng(0)
    x, bias, grad = (
        10 * rng.standard_normal(shape).astype(np.float32) for shape in ((rows, width), width, (rows, width))
    )
    output, dx = kernels("bias_quick_gelu", (rows, width), (x, bias, grad), ((rows, width), (rows, width)))
    t = x.astype(np.float64) + bias
    sigmoid = 1 / (1 + np.exp(-1.702 * t))
    np.testing.assert_allclose(output, t * sigmoid, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        dx, grad * (sigmoid + 1.702 * t * sigmoid * (1 - sigmoid)), rtol=1e-5, atol=1e-4
    )


def test_quick_gelu_far_from_zero(kernels: Kernels) -> None:
    """The gradient far above zero is 1, where a sigmoid of 0.99999995 in place of 1 would add 1e-3 at 1e4."""
    x = np.linspace(-1e4, 1e4, 82, dtype=np.float32).reshape(2, 41)
    output, dx = kernels("bias_quick_gelu", x.shape, (x, np.zeros(41), np.ones_like(x)), (x.shape, x.shape))
    np.testing.assert_allclose(output, np.maximum(x, 0), atol=1e-6)
    np.testing.assert_allclose(dx, x > 0, atol=1e-6)


@pytest.mark.parametrize("rows, width", [(1, 1), (7, 37), (300, 256)])
def test_relu(kernels: Kernels, rows: int, width: int) -> None:
    rng = np.random.default_rng(0)
    x, bias, grad = (
        rng.standard_normal(shape).astype(np.float32) for shape in ((rows, width), width, (rows, width))
    )
    output, dx = kernels("bias_relu", (rows, width), (x, bias, grad), ((rows, width), (rows, width)))
    np.testing.assert_array_equal(output, np.maximum(x + bias, 0))
    np.testing.assert_array_equal(dx, grad * (x + bias > 0))


@pytest.mark.parametrize("rows, width", [(1, 1), (7, 37), (300, 128)])
def test_dropout(kernels: Kernels, rows: int, width: int) -> None:
    x = np.random.default_rng(0).standard_normal((rows, width)).astype(np.float32)
    (y,) = kernels("dropout", (rows, width, 0.3, 7), (x,), ((rows, width),))
    np.testing.assert_allclose(y, x * dropout_factors(1, 1, rows, width, 0.3, 7)[0, 0], rtol=1e-6)
