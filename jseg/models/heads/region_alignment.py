"""Region alignment module (paper, section 3.3 and Fig. 3b): fuses region, global, image and text features.

Both projections of the module act on concatenations. A product with a concatenation is a sum of products,
so no concatenation is built: text and [CLS] are projected once instead of once per region or pixel, and
regions are projected before they are upsampled (both maps are linear, so they commute).

Shapes: B images, N = h·w patches, M = mh·mw regions, C classes, d joint width.
"""

from collections.abc import Sequence

from jseg.checkpoints.clip_rc_architecture import FUSED_FEATURES
from jseg.ops import linear, resize_bilinear, transpose_last
from jseg.runtime.backend import jt


def region_relations(text: jt.Var, global_feature: jt.Var, regions: jt.Var | None) -> jt.Var:
    """T ⊙ R_a with R_a = R + G (Eq. 5 and the first half of Eq. 6); T ⊙ G without a region bridge.

    Args:
        text: (C, d).
        global_feature: (B, d).
        regions: (B, M, d) or None.

    Returns:
        (B, M·C, d), region-major (index = region·C + class); M = 1 without regions.
    """
    batch, width = global_feature.shape
    prior = global_feature.reshape(batch, 1, 1, width)
    if regions is not None:
        prior = prior + regions.reshape(batch, -1, 1, width)
    relation = prior * text.reshape(1, 1, -1, width)
    return relation.reshape(batch, -1, width)


def project_text(text: jt.Var, weight: jt.Var, bias: jt.Var) -> jt.Var:
    """The part of `project_queries` that depends on the text alone.

    Args:
        text: (C, d).
        weight: (d, 2d).
        bias: (d,).

    Returns:
        (C, d).
    """
    return linear(text, weight[:, text.shape[1] :], bias)


def project_queries(relation: jt.Var, of_text: jt.Var, weight: jt.Var) -> jt.Var:
    """q_proj of the regional relationship descriptors R̂ = concat[T ⊙ R_a, T].

    Args:
        relation: (B, M·C, d) from `region_relations`.
        of_text: (C, d) from `project_text`.
        weight: (d, 2d).

    Returns:
        (B, M·C, d).
    """
    batch, _, width = relation.shape
    queries = linear(relation, weight[:, :width]).reshape(batch, -1, *of_text.shape)
    return (queries + of_text.reshape(1, 1, *of_text.shape)).reshape(batch, -1, of_text.shape[1])


def descriptors(relation: jt.Var, text: jt.Var) -> jt.Var:
    """R̂ itself, (B, M·C, 2d): the recovery target of the queries."""
    batch, queries, width = relation.shape
    repeated = text.reshape(1, 1, -1, width).expand(batch, queries // text.shape[0], text.shape[0], width)
    return jt.concat([relation, repeated.reshape(batch, queries, width)], dim=2)


def project_pixels(
    image: jt.Var,
    global_feature: jt.Var,
    regions: jt.Var | None,
    grid: tuple[int, int],
    region_grid: tuple[int, int],
    inputs: Sequence[str],
    weight: jt.Var,
    bias: jt.Var,
) -> jt.Var:
    """lateral_proj of concat[upsample(R), upsample(G), I] (Eq. 4; the order is the releases').

    Args:
        image: (B, N, d).
        global_feature: (B, d).
        regions: (B, M, d), may be None if `inputs` has no 'region'.
        grid: (h, w).
        region_grid: (mh, mw).
        inputs: which of `FUSED_FEATURES` are fused; the image features always are.
        weight: (d, (1 + len(inputs))·d).
        bias: (d,).

    Returns:
        (B, N, d).
    """
    batch, num_patches, width = image.shape
    names = [name for name in FUSED_FEATURES if name in inputs] + ["image"]
    blocks = {
        name: weight[:, i * width : (i + 1) * width] if len(names) > 1 else weight
        for i, name in enumerate(names)
    }
    pixels = linear(image, blocks["image"], bias)
    if "global" in blocks:
        pixels = pixels + linear(global_feature, blocks["global"]).unsqueeze(1)
    if "region" in blocks:
        maps = transpose_last(linear(regions, blocks["region"])).reshape(batch, -1, *region_grid)
        maps = resize_bilinear(maps, grid).reshape(batch, -1, num_patches)
        pixels = pixels + transpose_last(maps)
    return pixels
