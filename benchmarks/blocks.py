"""Times the operators around attention, and whole blocks, against plain Jittor and PyTorch, in turn.

    python benchmarks/blocks.py [--torch-python PYTHON] [--runs 7] [--groups operators losses blocks]
                                [--no-memory] [--out blocks.json]

The contenders and columns are those of `attention.py`. `block` is CLIP's residual block at width 768 with
frozen weights, where the gradient of its input is timed. `decoder layer` is one stream of a decoder layer at
width 512 with all its gradients. `residual` is x + (y + bias) as a pass of its own. `nel` is the loss of
maps on the patch grid with their resizing, `recovery` the L1 recovery loss, at the sizes of VOC and COCO.

GFLOP/s counts the matrix products of a block and of its gradients (2 per product in the forward pass, as many
again for the gradient of the input, and for that of trained weights). Attention is counted as in
`attention.py`. Operators without products have no GFLOP/s.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from attention import cross_case, region_case, repeated
from harness import Case, main


def row_operator(op: str, rows: int, width: int) -> Case:
    """Returns a case of an operator on the rows of a matrix, with vectors of its width."""
    vectors = {"layer_norm": 2, "bias_quick_gelu": 1, "bias_relu": 1, "residual": 1}[op]
    shapes = [[1, rows, width]] * (2 if op == "residual" else 1) + [[width]] * vectors
    job = {"op": op, "shapes": shapes, "output": [1, rows, width], "repeat": 10}
    return Case(f"{op} {rows}x{width}", job)


def nel(images: int, classes: int, grid: int = 32, size: int = 512) -> Case:
    """Returns a case of the NEL loss of maps on a grid against a label of `size` pixels a side."""
    job = {"op": "nel", "shapes": [[images, classes, grid, grid]], "size": size, "output": [1]}
    return Case(f"nel {images}x{classes}x{grid}x{grid} at {size}", job)


def recovery(rows: int, width: int) -> Case:
    """Returns a case of the L1 recovery loss."""
    return Case(
        f"recovery {rows}x{width}", {"op": "recovery", "shapes": [[1, rows, width]] * 2, "output": [1]}
    )


def linear_residual(rows: int, inner: int, width: int) -> Case:
    """Returns a case of residual + x · weightᵀ + bias."""
    shapes = [[1, rows, inner], [width, inner], [width], [1, rows, width]]
    job = {"op": "linear_residual", "shapes": shapes, "output": [1, rows, width], "repeat": 3}
    products = 2.0 * rows * inner * width
    return Case(f"linear + residual {rows}x{inner}x{width}", job, [products, 2 * products])


def block(side: int, regions: int, width: int = 768, batch: int = 1, plain: bool = True) -> Case:
    """Returns a case of CLIP's residual block over an image with regions."""
    attention = region_case(side, regions, heads=width // 64, batch=batch)
    shape = attention.job["output"]
    products = 2.0 * batch * shape[1] * 12 * width * width
    job = {**attention.job, "op": "block", "shapes": [shape], "width": width}
    return Case(
        f"block {attention.name}", job, [products + attention.flops[0], products + attention.flops[1]], plain
    )


def decoder_layer(
    queries: int, keys: int, width: int = 512, heads: int = 8, batch: int = 1, dropout: float = 0.0
) -> Case:
    """Returns a case of one trained stream of a decoder layer."""
    attention = cross_case(queries, keys, heads=heads, batch=batch)
    products = 2.0 * batch * width * width * (10 * queries + 2 * keys)
    shapes = [[batch, rows, width] for rows in (queries, keys)]
    job = {
        "op": "decoder_layer",
        "shapes": shapes,
        "output": shapes[0],
        "width": width,
        "heads": heads,
        "dropout": dropout,
    }
    flops = [products + attention.flops[0], 2 * products + attention.flops[1]]
    return Case(f"decoder layer {attention.name}", job, flops)


CASES: dict[str, list[Case]] = {
    "operators": [
        row_operator("layer_norm", 1051, 768),
        row_operator("layer_norm", 320, 512),
        row_operator("layer_norm", 632, 128),
        row_operator("bias_quick_gelu", 1051, 3072),
        row_operator("bias_quick_gelu", 632, 512),
        row_operator("bias_relu", 1024, 2048),
        row_operator("bias_relu", 512, 256),
        row_operator("residual", 1051, 768),
        linear_residual(1051, 3072, 768),
    ],
    "losses": [nel(1, 15), nel(1, 156), recovery(320, 1024), recovery(2736, 1024)],
    "blocks": [
        block(32, 4),
        block(32, 32, plain=False),
        repeated(block(8, 2, width=128, batch=8)),
        decoder_layer(320, 1024),
        repeated(decoder_layer(80, 64, width=64, heads=1, batch=8, dropout=0.1)),
    ],
}
MEMORY_OF = [block(32, 4).name, block(32, 32).name]

if __name__ == "__main__":
    sys.exit(main(__doc__.splitlines()[0], CASES, MEMORY_OF, sys.argv[1:]))
