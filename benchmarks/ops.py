"""Times the fused operators against plain Jittor, in one process and in alternating runs.

    python benchmarks/ops.py [--runs 7] [--out ops.json]

Sizes: one 512x512 picture in ViT-B/16 with 10 prompts and 16 regions (1051 tokens x 768, 12 heads), and
ZeroShapes training (16 pictures, 165 tokens x 128, 2 heads). "Plain" is what a Jittor user would write:
`nn.matmul`, `nn.softmax` and the formula of `nn.LayerNorm`. Times move with the load of the machine; the
ratio within one run is what counts.
"""

import argparse
import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Sequence

import numpy as np

if __package__ in (None, ""):  # run as a script from a checkout
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jseg.ops import attention, layer_norm, linear
from jseg.ops.attention.reference import attention_reference
from jseg.runtime.backend import jt, nn

Operator = Callable[..., jt.Var]


class Size(NamedTuple):
    """A workload: `batch` sequences of `tokens` vectors of `width` channels."""

    name: str
    batch: int
    tokens: int
    width: int
    heads: int


class Row(NamedTuple):
    """One measured line; times in milliseconds, median over the runs."""

    operator: str
    size: str
    direction: str
    plain_ms: float
    fused_ms: float

    @property
    def ratio(self) -> float:
        """How many times faster the fused operator is."""
        return self.plain_ms / self.fused_ms


SIZES = (Size("1x1051x768, 12 heads", 1, 1051, 768, 12), Size("16x165x128, 2 heads", 16, 165, 128, 2))


def plain_layer_norm(x: jt.Var, weight: jt.Var, bias: jt.Var) -> jt.Var:
    """Jittor's own formula: variance as E[x²] - E[x]²."""
    mean = x.mean(-1, keepdims=True)
    variance = (x * x).mean(-1, keepdims=True) - mean * mean
    return (x - mean) / jt.sqrt(variance + 1e-5) * weight + bias


def operators(size: Size) -> Dict[str, Sequence]:
    """Name -> (plain, fused, arrays of the inputs) for one size."""
    rng = np.random.default_rng(0)

    def normal(*shape: int) -> np.ndarray:
        return rng.standard_normal(shape).astype(np.float32)

    x = (size.batch, size.tokens, size.width)
    return {
        "attention": (lambda q, k, v: attention_reference(q, k, v, size.heads),
                      lambda q, k, v: attention(q, k, v, size.heads), [normal(*x), normal(*x), normal(*x)]),
        "layer_norm": (plain_layer_norm, layer_norm, [normal(*x), normal(size.width), normal(size.width)]),
        "linear": (lambda y, w, b: nn.matmul_transpose(y, w) + b, linear,
                   [normal(*x), normal(4 * size.width, size.width) * 0.02, normal(4 * size.width)]),
    }


def timed(operator: Operator, inputs: List[np.ndarray], backward: bool) -> float:
    """Seconds of one call, with all gradients if `backward`; inputs are in memory before the clock starts."""
    variables = [jt.array(array) for array in inputs]
    jt.sync_all(True)
    start = time.perf_counter()
    output = operator(*variables)
    # Sum of squares: a plain sum would let Jittor simplify the gradient of the output to a constant.
    results = jt.grad((output * output).sum(), variables) if backward else [output]
    jt.sync(results)
    jt.sync_all(True)
    return time.perf_counter() - start


def measure(runs: int) -> List[Row]:
    """Plain and fused in turns, after one call of each to compile and warm up."""
    rows = []
    for size in SIZES:
        for name, (plain, fused, inputs) in operators(size).items():
            for backward in (False, True):
                times = {plain: [], fused: []}
                for run in range(runs + 1):
                    for operator in (plain, fused):
                        seconds = timed(operator, inputs, backward)
                        if run:
                            times[operator].append(1000 * seconds)
                rows.append(Row(name, size.name, "forward + backward" if backward else "forward",
                                statistics.median(times[plain]), statistics.median(times[fused])))
    return rows


def table(rows: List[Row]) -> str:
    """Markdown."""
    lines = ["| operator | size | direction | plain ms | fused ms | plain / fused |", "|---|---|---|---:|---:|---:|"]
    lines += [f"| {row.operator} | {row.size} | {row.direction} | {row.plain_ms:.2f} | {row.fused_ms:.2f} "
              f"| {row.ratio:.1f} |" for row in rows]
    return "\n".join(lines)


def main(arguments: Sequence[str] = ()) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=7, help="measured runs of each operator (default 7)")
    parser.add_argument("--out", type=Path, help="also write the rows to this JSON file")
    options = parser.parse_args(arguments)
    if options.runs < 1:
        parser.error("--runs must be at least 1")
    rows = measure(options.runs)
    print(f"threads {os.environ.get('OMP_NUM_THREADS', 'all')}, cores {os.cpu_count()}, load "
          f"{os.getloadavg()[0]:.1f}, Jittor {jt.__version__}, median of {options.runs} alternating runs\n")
    print(table(rows))
    if options.out:
        options.out.write_text(json.dumps([{**row._asdict(), "ratio": row.ratio} for row in rows], indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
