"""Builds and memory of the fused operators.

Other sizes and flags do not need another build, and memory does not grow with the square of the number of
tokens.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from compiled import MAPS, loaded
from op_references import gradients

from jseg.ops import RegionLayout, attention, bias_relu, dropout, layer_norm, region_attention
from jseg.ops.randomness import set_first_sample
from jseg.runtime.backend import jt

ROOT = Path(__file__).resolve().parents[2]


def draw(*shape: int) -> jt.Var:
    return jt.array(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


def run(call: Callable[..., jt.Var], *inputs: jt.Var) -> None:
    """Runs the forward and backward passes."""
    output = call(*inputs)
    gradients(output, np.ones([int(n) for n in output.shape], np.float32), inputs)


def run_attention(batch: int, queries: int, keys: int, heads: int, channels: int, **flags) -> None:
    width = heads * channels
    run(
        lambda q, k, v: attention(q, k, v, heads, **flags),
        draw(batch, queries, width),
        draw(batch, keys, width),
        draw(batch, keys, width),
    )


def run_regions(batch: int, layout: RegionLayout, heads: int, channels: int) -> None:
    run(lambda qkv: region_attention(qkv, heads, layout), draw(batch, layout.tokens, 3 * heads * channels))


def run_layer_norm(rows: int, width: int, eps: float) -> None:
    run(lambda *x: layer_norm(*x, eps), draw(2, rows, width), draw(width), draw(width))


def run_relu(rows: int, width: int, rate: float) -> None:
    run(lambda x, bias: bias_relu(x, bias, rate), draw(2, rows, width), draw(width))


def run_dropout(rows: int, width: int, rate: float, first: int) -> None:
    set_first_sample(first)
    try:
        run(lambda x: dropout(x, rate), draw(2, rows, width))
    finally:
        set_first_sample(0)


WAYS = {
    "attention": (
        run_attention,
        [
            ((2, 9, 7, 2, 8), {}),
            ((3, 50, 520, 4, 12), {}),
            ((2, 60, 60, 2, 8), {"causal": True}),
            ((2, 9, 7, 2, 8), {"dropout": 0.3}),
        ],
    ),
    "region attention": (
        run_regions,
        [
            ((2, RegionLayout((3, 4), (2, 2), 3, 2), 2, 8), {}),
            ((3, RegionLayout((5, 5), (3, 3), 2), 4, 16), {}),
            ((2, RegionLayout((4, 4), (0, 0), 2, 1), 1, 8), {}),
        ],
    ),
    "layer norm": (run_layer_norm, [((5, 16, 1e-5), {}), ((40, 33, 1e-6), {})]),
    "ReLU and dropout": (run_relu, [((5, 16, 0.1), {}), ((40, 33, 0.7), {})]),
    "dropout": (run_dropout, [((5, 16, 0.1, 0), {}), ((40, 33, 0.7, 5), {})]),
}


@pytest.mark.skipif(not MAPS.exists(), reason="needs Linux's list of loaded files")
@pytest.mark.parametrize("name", WAYS)
def test_other_sizes_and_flags_build_nothing(name: str) -> None:
    """Jittor builds once for each source text, number of axes and types, and a build takes seconds."""
    call, ways = WAYS[name]
    before = None
    for arguments, flags in ways:
        call(*arguments, **flags)
        after = loaded()
        assert any("/jit/" in path for path in after)
        assert before is None or after == before, sorted(after - before)
        before = after


PROGRAM = """
import sys
sys.path[:0] = [{root!r}, {benchmarks!r}]
import numpy as np
from harness import peak_bytes, reset_peak
from jseg.ops import RegionLayout, region_attention
from jseg.runtime.backend import jt

def run(side, regions):
    layout = RegionLayout((side, side), (regions, regions), 1)
    qkv, weights = (jt.array(np.ones((1, layout.tokens, n), np.float32)) for n in (3 * 16, 16))
    jt.grad((region_attention(qkv, 1, layout) * weights).sum(), [qkv])[0].numpy()
    return layout.tokens

run(4, 2)  # loads the code
reset_peak()
before = peak_bytes()
tokens = run(32, 32)
print("TOOK", (peak_bytes() - before) / (4 * tokens**2))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's largest resident size")
@pytest.mark.parametrize("fused", ["1", "0"])
@pytest.mark.slow
def test_memory_of_many_regions(fused: str) -> None:
    """Memory stays small for M = 1024 on 32 x 32 patches with one head of 16 channels, in a fresh process.

    E·D values are 1 % of E². The plain version keeps E² values several times, and so shows that the
    measurement sees them.
    """
    program = PROGRAM.format(root=str(ROOT), benchmarks=str(ROOT / "benchmarks"))
    answer = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "JSEG_FUSED": fused},
        text=True,
        stdout=subprocess.PIPE,
        check=True,
    ).stdout
    share = next(float(line.split()[1]) for line in answer.splitlines() if line.startswith("TOOK"))
    assert share < 0.5 if fused == "1" else share > 2


FEED_FORWARD = """
import sys
sys.path[:0] = [{root!r}, {benchmarks!r}]
import numpy as np
from harness import peak_bytes, reset_peak
from jseg.ops import bias_quick_gelu, bias_relu, linear
from jseg.runtime.backend import jt

def run(rows, activation, frozen, *options):
    x, first, second = (jt.array(np.ones(shape, np.float32)) for shape in ((rows, 8), (4096, 8), (8, 4096)))
    bias, y = jt.array(np.ones(4096, np.float32)), x
    if frozen:
        first, second, bias = (value.stop_grad() for value in (first, second, bias))
    for _ in range(8):
        y = linear(activation(linear(y, first), bias, *options), second)
    y.sync()
    jt.grad(y.sum(), [x])[0].sync()

run(2, {case})  # loads the code
reset_peak()
before = peak_bytes()
run(1024, {case})
print("KEPT", (peak_bytes() - before) / (1024 * 4096 * 4))
"""


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux's largest resident size")
@pytest.mark.parametrize(
    "case, kept",
    [("bias_quick_gelu, True", 8), ("bias_relu, False, 0.5", 8), ("bias_quick_gelu, False", 16)],
    ids=["frozen", "ReLU and dropout", "trained"],
)
@pytest.mark.slow
def test_what_feed_forward_parts_keep(case: str, kept: int) -> None:
    """Of eight parts, one hidden tensor each where weights are frozen, and behind ReLU and dropout, but the
    input of GELU and that of the product behind it where weights are trained."""
    program = FEED_FORWARD.format(root=str(ROOT), benchmarks=str(ROOT / "benchmarks"), case=case)
    answer = subprocess.run([sys.executable, "-c", program], text=True, stdout=subprocess.PIPE, check=True)
    lines = answer.stdout.splitlines()
    found = next(float(line.split()[1]) for line in lines if line.startswith("KEPT"))
    assert kept <= found < kept + 3
