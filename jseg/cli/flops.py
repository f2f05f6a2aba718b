"""Count the multiply-adds of CLIP-RC by part and by number of regions.

    jseg flops                                  # VOC
    jseg flops --classes 171 --prompts 100      # COCO-Stuff

The paper's GFLOPs column (Table 6) counts a multiplication with its addition as one, in matrix products and
in both products of attention, for one image through encoder and decoder at test time, with the dense region
mask. The text encoder, norms and activations are left out, as is the recovery decoder, which runs in training
alone. The column "release" follows that convention. The column "jseg" counts what jseg computes for the same
result: a region token attends to its own patches, prompts are no queries and end with attention, [CLS] is
projected once, queries are averaged over regions before the class maps, and what depends on the model and the
words alone is not computed for each image.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from jseg.cli.output import Record, add_output_options, command_status

PAPER = {1: 119.8, 4: 121.2, 16: 126.7, 64: 148.9, 256: 238.2, 1024: 609.2}
"""Table 6, frozen region tokens, PASCAL VOC."""


@dataclass(frozen=True)
class Sizes:
    """N patches of an image, C classes, K prompts, L layers of width D, joint width d, p pixels a patch."""

    patches: int = 1024
    classes: int = 20
    prompts: int = 10
    layers: int = 12
    width: int = 768
    joint: int = 512
    decoder_layers: int = 3
    patch: int = 16


def multiply_adds(s: Sizes, regions: int, as_released: bool) -> dict[str, int]:
    """Multiply-adds of each part for one image.

    Args:
        regions: M.
        as_released: the convention of the paper; else what jseg computes.
    """
    n, c, k, width, d = s.patches, s.classes, s.prompts, s.width, s.joint
    tokens, queries = 1 + k + n + regions, regions * c
    if as_released:
        pairs, outputs, row_products = tokens**2, tokens, tokens * 12
        projections = queries * 2 * d * d + n * 3 * d * d
        maps = queries * n * d
    else:
        # CLS and patches see CLS, prompts and patches. A patch and its region see each other. Query, key and
        # value, 3 of the 12 products of a row, are known: of prompts, and in layer 1 of CLS and regions.
        row_products = (tokens - k) * 12
        pairs, outputs = (1 + n) * (1 + k + n) + 2 * n + regions, 1 + n + regions
        projections = queries * d * d + (n + 1 + regions) * d * d
        maps = c * n * d
    known = 0 if as_released else (1 + regions) * 3
    decoder = s.decoder_layers * (queries + n) * 12 * d * d  # own q, output, feed-forward; k, v of the other
    return {
        "patch embedding": n * 3 * s.patch**2 * width,
        "encoder, products": (s.layers * row_products - known) * width**2,
        "encoder, attention": s.layers * 2 * pairs * width,
        "joint projection": outputs * width * d,
        "alignment": projections,
        "decoder, products": decoder,
        "decoder, attention": s.decoder_layers * 2 * 2 * queries * n * d,
        "class maps": maps,
    }


def table(s: Sizes, counts: Sequence[int], paper: bool) -> str:
    """Markdown: G multiply-adds for each M in `counts`, and the parts of the release."""
    parts = {m: multiply_adds(s, m, True) for m in counts}
    names = list(parts[counts[0]])
    heading = ["M", *(["paper"] if paper else []), "release", "jseg", *names]
    lines = ["| " + " | ".join(heading) + " |", "|" + "---:|" * len(heading)]
    for m in counts:
        whole = [sum(parts[m].values()), sum(multiply_adds(s, m, False).values())]
        published = [str(PAPER.get(m, "–"))] if paper else []
        cells = [str(m), *published, *(f"{value / 1e9:.1f}" for value in (*whole, *parts[m].values()))]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--regions", type=int, nargs="+", default=list(PAPER), help="M, any numbers")
    parser.add_argument("--classes", type=int, default=20, help="C (default 20)")
    parser.add_argument("--prompts", type=int, default=10, help="K (default 10)")
    parser.add_argument("--size", type=int, default=512, help="side of the image in pixels (default 512)")
    add_output_options(parser, "one object for each number of regions, in multiply-adds", quiet=False)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table; returns the exit status."""
    parser = make_parser()
    options = parser.parse_args(argv)
    for name in ("classes", "prompts", "size"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1")
    if min(options.regions) < 0 or options.size % Sizes.patch:
        parser.error(f"--regions must be at least 0, and --size a multiple of {Sizes.patch}")
    s = Sizes((options.size // Sizes.patch) ** 2, options.classes, options.prompts)
    as_in_paper = s == Sizes()

    def show(record: Record) -> int:
        print(
            f"10^9 multiply-adds for one image of {options.size}x{options.size} pixels, C {s.classes}, "
            f"K {s.prompts}; the parts are those of the release\n"
        )
        print(table(s, options.regions, as_in_paper))
        for m in options.regions:
            parts = multiply_adds(s, m, True)
            own = sum(multiply_adds(s, m, False).values())
            record({"regions": m, "release": sum(parts.values()), "jseg": own, "parts": parts})
        return 0

    return command_status(options, show)
