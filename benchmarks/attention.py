"""Times the fused attention against plain Jittor and PyTorch, in turns.

    python benchmarks/attention.py [--torch-python PYTHON] [--runs 7] [--groups regions tokens decoder small]
                                   [--no-memory] [--out attention.json]

Fused: `jseg.ops`. Plain: the same with JSEG_FUSED=0, that is `nn.matmul`, `nn.softmax` and, with regions, the
dense mask. PyTorch: `scaled_dot_product_attention` with the same dense additive mask, from the interpreter
given by
--torch-python. Each contender is a process of its own, and they take turns; forward and backward (all inputs)
are timed one after the other.

GFLOP/s is that of the fused operator, on the pairs of query and key that the mask allows: 4 H c B pairs
forward (two products), 10 H c B pairs backward (five products). Peak MiB is what one forward and backward
pass adds to the inputs, measured as the largest resident size in a fresh process; it holds loaded code, a few
MiB.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import Case, main

HEADS, CHANNELS = 12, 64  # ViT-B/16


def region_case(
    side: int, regions: int, prompts: int = 10, heads: int = HEADS, batch: int = 1, plain: bool = True
) -> Case:
    """A picture of side x side patches with regions x regions region tokens, prompts as keys only."""
    base, width = 1 + prompts + side * side, heads * CHANNELS
    tokens = base + regions * regions
    pairs = (base - prompts) * base + (2 * side * side + regions * regions if regions else 0)
    job = {
        "op": "region_attention",
        "shapes": [[batch, tokens, 3 * width]],
        "output": [batch, tokens, width],
        "heads": heads,
        "grid": [side, side],
        "regions": [regions, regions],
        "prefix": 1 + prompts,
        "skipped": prompts,
    }
    name = f"{batch}x{tokens}, M={regions * regions}, {heads} heads"
    return Case(name, job, flops(batch * heads * pairs), plain)


def cross_case(
    queries: int,
    keys: int,
    heads: int = 8,
    batch: int = 1,
    causal: bool = False,
    dropout: float = 0.0,
    plain: bool = True,
) -> Case:
    """Queries over keys, as in the decoder, or causal self-attention as in the text tower."""
    width, pairs = heads * CHANNELS, queries * (queries + 1) // 2 if causal else queries * keys
    shapes = [[batch, rows, width] for rows in (queries, keys, keys)]
    job = {
        "op": "attention",
        "shapes": shapes,
        "output": shapes[0],
        "heads": heads,
        "causal": causal,
        "dropout": dropout,
    }
    over = f"{'earlier' if causal else keys}{', dropout' if dropout else ''}"
    name = f"{batch}x{queries} over {over}, {heads} heads"
    return Case(name, job, flops(batch * heads * pairs), plain)


def repeated(case: Case) -> Case:
    """The median of ten calls in a row, for calls of about a millisecond."""
    return case._replace(job={**case.job, "repeat": 10})


def flops(pairs: float) -> list[float]:
    return [4.0 * CHANNELS * pairs, 10.0 * CHANNELS * pairs]


CASES: dict[str, list[Case]] = {
    # 512x512 pixels, patch 16; the first line is plain self-attention of 1051 tokens.
    "regions": [cross_case(1051, 1051, heads=12)]
    + [region_case(32, m, plain=m < 32) for m in (0, 4, 8, 16, 32)],
    "tokens": [region_case(side, 4) for side in (14, 20, 28, 40)],
    # M·C queries (M = 16, 1024 and C = 20) and 1024 patches.
    "decoder": [
        cross_case(320, 1024),
        cross_case(1024, 320),
        cross_case(320, 1024, dropout=0.1),
        cross_case(20480, 1024, plain=False),
        cross_case(1024, 20480, plain=False),
    ],
    # CLIP's text tower; ZeroShapes training: 64 patches, 4 regions, 10 prompts, decoder of one head.
    "small": [
        repeated(cross_case(77, 77, batch=4, causal=True)),
        repeated(region_case(8, 2, heads=2, batch=8)),
        repeated(cross_case(80, 64, heads=1, batch=8, dropout=0.1)),
    ],
}
MEMORY_OF = [region_case(32, m).name for m in (4, 32)] + [cross_case(20480, 1024).name]

if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0], CASES, MEMORY_OF, sys.argv[1:]))
