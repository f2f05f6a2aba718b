"""The attention kernels built for other instruction sets than this machine's: 4, 8 and 16 floats a vector.

Jittor builds for the machine at hand, so the narrower versions would run nowhere but on older processors.
"""

import ctypes
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Tuple

import numpy as np
import pytest
from op_references import attention_float64, dropout_factors, region_attention_float64, relative_error

from jseg.ops import RegionLayout

SOURCE = Path(__file__).with_name("kernels.cpp")
HEADERS = Path(__file__).resolve().parents[2] / "jseg" / "ops"
OPTIONS = {"sse2": ("-march=x86-64",), "avx2": ("-march=x86-64", "-mavx2", "-mfma"), "portable": ()}


def supported(name: str) -> bool:
    if name == "portable":
        return platform.machine() not in ("x86_64", "AMD64")
    if platform.machine() not in ("x86_64", "AMD64"):
        return False
    cpuinfo = Path("/proc/cpuinfo")
    return name == "sse2" or (cpuinfo.exists() and {"avx2", "fma"} <= set(cpuinfo.read_text().split()))


@pytest.fixture(scope="module", params=sorted(OPTIONS))
def kernels(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    compiler = shutil.which("g++")
    if compiler is None or not supported(request.param):
        pytest.skip(f"no g++, or this processor does not run {request.param}")
    library = tmp_path_factory.mktemp("kernels") / "kernels.so"
    options = ["-std=c++14", "-Ofast", "-fopenmp", "-shared", "-fPIC", f"-I{HEADERS}", *OPTIONS[request.param]]
    subprocess.run([compiler, *options, str(SOURCE), "-o", str(library)], check=True)
    loaded = ctypes.CDLL(str(library))
    assert loaded.lanes() == (8 if request.param == "avx2" else 4)
    return loaded


def pointer(array: np.ndarray) -> ctypes.c_void_p:
    return array.ctypes.data_as(ctypes.c_void_p)


@pytest.mark.parametrize("batch, heads, channels, queries, keys, causal, rate", [
    (1, 2, 24, 49, 513, 0, 0.0), (2, 1, 80, 60, 60, 1, 0.0), (1, 3, 9, 50, 270, 0, 0.3)])
def test_attention(kernels: ctypes.CDLL, batch: int, heads: int, channels: int, queries: int, keys: int, causal: int,
                   rate: float) -> None:
    rng = np.random.default_rng(0)
    q, k, v, grad = (rng.standard_normal((batch, rows, heads * channels)).astype(np.float32)
                     for rows in (queries, keys, keys, queries))
    results = [np.full_like(x, np.nan) for x in (q, q, k, v)]
    log_sum = np.empty((batch, heads, queries), np.float32)
    output, *grads = results
    kernels.attention(*map(ctypes.c_long, (batch,)), heads, *map(ctypes.c_long, (channels, queries, keys)), causal,
                      ctypes.c_double(rate), 7, *map(pointer, (q, k, v, grad, output, log_sum, *grads)))
    allowed = np.tril(np.ones((queries, keys), bool)) if causal else None
    factors = dropout_factors(batch, heads, queries, keys, rate, 7) if rate else None
    expected, expected_grads = attention_float64(q, k, v, heads, allowed, grad, factors)
    for actual, wanted in zip(results, (expected, *expected_grads)):
        assert relative_error(actual, wanted) < 5e-6


@pytest.mark.parametrize("grid, regions, skipped", [((9, 14), (3, 3), 10), ((5, 3), (4, 4), 0), ((4, 4), (0, 0), 1)])
def test_region_attention(kernels: ctypes.CDLL, grid: Tuple[int, int], regions: Tuple[int, int], skipped: int) -> None:
    layout, heads, channels = RegionLayout(grid, regions, 11, skipped), 2, 24
    rng = np.random.default_rng(0)
    qkv, grad = (rng.standard_normal((2, layout.tokens, n * heads * channels)).astype(np.float32) for n in (3, 1))
    output, d_qkv = np.full_like(grad, np.nan), np.full_like(qkv, np.nan)
    log_sum = np.empty((2, heads, layout.tokens), np.float32)
    sizes = np.array([*grid, *regions, layout.prefix, skipped], np.int64)
    kernels.region_attention(ctypes.c_long(2), heads, ctypes.c_long(channels),
                             *map(pointer, (sizes, qkv, grad, output, log_sum, d_qkv)))
    expected, expected_gradient = region_attention_float64(qkv, heads, layout, grad)
    assert relative_error(output, expected) < 2e-6
    assert relative_error(d_qkv, expected_gradient) < 5e-6
