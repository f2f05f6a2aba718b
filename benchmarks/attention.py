"""Times fused attention against plain Jittor and PyTorch, in turn.

    python benchmarks/attention.py [--torch-python PYTHON] [--runs 7] [--groups regions tokens decoder small]
                                   [--no-memory] [--out attention.json]

The contenders are:
    fused: `jseg.ops`.
    plain: the same with JSEG_FUSED=0, that is `nn.matmul`, `nn.softmax` and, with regions, the dense mask.
    torch: `scaled_dot_product_attention` with the same dense additive mask, run by --torch-python.

Each contender has its own process, and they take turns. The forward pass and the backward pass (for all
inputs) are timed one after the other.

GFLOP/s is that of the fused operator, and counts the pairs of query and key that the mask allows: 4 H c B
pairs in the forward pass (two products) and 10 H c B pairs in the backward pass (five products). Peak MiB is
the memory that one forward and backward pass adds to the inputs. It is measured as the largest resident size
of a fresh process, and includes a few MiB of loaded code.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from harness import Case, main

HEADS, CHANNELS = 12, 64  # ViT-B/16


def region_case(
    side: int, regions: int, prompts: int = 10, heads: int = HEADS, batch: int = 1, plain: bool = True
) -> Case:
    """Returns a case of side x side patches and regions x regions regions, with prompts as keys only."""
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
    """Returns a case of attention over other keys (decoder) or of causal self-attention (text tower)."""
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
    """Returns the case with ten calls in a row, whose median counts, for calls of about a millisecond."""
    return case._replace(job={**case.job, "repeat": 10})


def flops(pairs: float) -> list[float]:
    return [4.0 * CHANNELS * pairs, 10.0 * CHANNELS * pairs]


CASES: dict[str, list[Case]] = {
    # 512x512 pixels in patches of 16. The first case is plain self-attention over 1051 tokens.
    "regions": [cross_case(1051, 1051, heads=12)]
    + [region_case(32, m, plain=m < 32) for m in (0, 4, 8, 16, 32)],
    "tokens": [region_case(side, 4) for side in (14, 20, 28, 40)],
    # M·C queries (M = 16 or 1024 and C = 20) and 1024 patches.
    "decoder": [
        cross_case(320, 1024),
        cross_case(1024, 320),
        cross_case(320, 1024, dropout=0.1),
        cross_case(20480, 1024, plain=False),
        cross_case(1024, 20480, plain=False),
    ],
    # CLIP's text tower, and ZeroShapes training with 64 patches, 4 regions, 10 prompts and a decoder of one
    # head.
    "small": [
        repeated(cross_case(77, 77, batch=4, causal=True)),
        repeated(region_case(8, 2, heads=2, batch=8)),
        repeated(cross_case(80, 64, heads=1, batch=8, dropout=0.1)),
    ],
}
MEMORY_OF = [region_case(32, m).name for m in (4, 32)] + [cross_case(20480, 1024).name]

if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0], CASES, MEMORY_OF, sys.argv[1:]))
