"""Region attention, without gradient, where some tokens are the same for all images of a batch."""

from jseg.ops.checks import require_heads, require_one_floating_type
from jseg.ops.dispatch import include_headers, use_fused
from jseg.ops.region_attention.layout import RegionLayout
from jseg.ops.region_attention.region_attention import HEADERS, PROBLEM, region_attention
from jseg.ops.rows import drop_rows, insert_rows
from jseg.runtime.backend import jt

_FORWARD = (
    PROBLEM
    + """
    jseg_attention::PartlyShared q{{in0_p, packed, rows * packed}, {in1_p, packed, 0},
                                   (long)data["first"], (long)data["end"], (long)data["last"]};
    jseg_attention::Shortened o{{out0_p, width, out0_shape1 * width}, regions.prefix - regions.skipped,
                                regions.prefix};
    jseg_attention::region_forward(problem, regions, q, q.shifted(width), q.shifted(2 * width), o, out1_p);
"""
)


def shared_region_attention(own: jt.Var, shared: jt.Var, num_heads: int, layout: RegionLayout) -> jt.Var:
    """`region_attention`, without gradient, of tokens of which some are the same for all images.

    The result is that of all rows in one tensor, which is not made on the CPU.

    Args:
        own: (B, L, 3·H·c), the rows of `region_attention`'s argument that differ, in order.
        shared: (S, 3·H·c) of the same type, the other rows, in order: those of the skipped tokens, or those
            of all tokens but the patches.
        num_heads: H.
        layout: order of all E = L + S tokens.

    Returns:
        (B, E − skipped, H·c), without rows of skipped tokens. Empty if B is 0.

    Raises:
        ValueError: if the shapes or types do not match; the message names them.
        TypeError: if an argument is not a Jittor tensor.
    """
    require_one_floating_type("region attention", own, shared)
    require_heads("region attention", num_heads)
    patches = layout.grid[0] * layout.grid[1]
    first, end, last = layout.prefix - layout.skipped, layout.prefix, layout.tokens
    if own.ndim == 3 and own.shape[1] == patches:
        first, last = 0, layout.base
    if (
        own.ndim != 3
        or not own.shape[2]
        or own.shape[2] % (3 * num_heads)
        or list(shared.shape) != [end - first + layout.tokens - last, own.shape[2]]
        or own.shape[1] + shared.shape[0] != layout.tokens
    ):
        raise ValueError(
            f"region attention over {num_heads} heads expects {layout.tokens} rows of 3·heads·c numbers, of "
            f"which all images share those of {layout.skipped} skipped tokens, or all but those of {patches} "
            f"patches; got {list(own.shape)} and {list(shared.shape)}"
        )
    batch, _, packed = own.shape
    if not batch:
        return jt.zeros((0, layout.tokens - layout.skipped, packed // 3), dtype=own.dtype)
    if not use_fused(own, shared):
        rows = shared.unsqueeze(0).expand(batch, *shared.shape)
        if last == layout.tokens:
            whole = insert_rows(own, rows, first)
        else:
            parts = [rows[:, :end], own, rows[:, end:]]
            whole = jt.concat([part for part in parts if part.shape[1]], 1)
        return drop_rows(region_attention(whole, num_heads, layout), end - layout.skipped, layout.skipped)
    return jt.code(
        [[batch, layout.tokens - layout.skipped, packed // 3], [batch, num_heads, layout.tokens]],
        ["float32", "float32"],
        [own, shared],
        cpu_header=include_headers(*HEADERS),
        cpu_src=_FORWARD,
        data={**layout.numbers(), "heads": num_heads, "first": first, "end": end, "last": last},
    )[0]
