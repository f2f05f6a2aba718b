"""Plain Jittor class map, which documents the kernel and replaces it where it does not apply."""

from collections.abc import Sequence

import numpy as np

from jseg.ops.basic import resize_bilinear
from jseg.ops.class_map.types import ClassMap, GridCopy
from jseg.runtime.backend import jt, nn

_STRIP_VALUES = 64_000_000  # scores at full size that are in memory together


def class_map_reference(
    copies: Sequence[GridCopy], size: tuple[int, int], bias: jt.Var, as_logits: bool
) -> ClassMap:
    """The result of `class_map`, from score maps at the size of the copies, and strips of full-size ones,
    which all stay on the device."""
    scores = [_scores(copy, bias, as_logits) for copy in copies]
    step = max(1, _STRIP_VALUES // (scores[0].shape[0] * scores[0].shape[1] * size[1]))
    strips = []
    for start in range(0, size[0], step):
        rows = slice(start, min(start + step, size[0]))
        total = sum(_resized(maps, copy, size, rows) for maps, copy in zip(scores, copies)) / len(copies)
        mask, confidence = jt.argmax(total, 1)
        strips.append(ClassMap(mask.int32(), confidence))
        if step < size[0]:
            jt.sync([mask, confidence])  # frees the scores of this strip
    return strips[0] if len(strips) == 1 else ClassMap(*(jt.concat(list(parts), 1) for parts in zip(*strips)))


def _resized(maps: jt.Var, copy: GridCopy, size: tuple[int, int], rows: slice) -> jt.Var:
    resized = resize_bilinear(maps, size, rows)
    return jt.flip(resized, 3) if copy.mirrored else resized


def _scores(copy: GridCopy, bias: jt.Var, as_logits: bool) -> jt.Var:
    """(B, C, *copy.size) scores of one copy, means over its windows."""
    classes = copy.logits.shape[2]
    (height, width), count = copy.crop, np.zeros(_padded(copy), np.float32)
    total = None
    for index, (top, left) in enumerate(copy.positions):
        part = resize_bilinear(copy.logits[:, index], copy.covered or copy.crop)[:, :, :height, :width]
        part = (part if as_logits else part.sigmoid()) - bias.reshape(1, classes, 1, 1)
        edges = (left, count.shape[1] - left - width, top, count.shape[0] - top - height)
        part = nn.ConstantPad2d(edges, 0.0)(part) if any(edges) else part
        total = part if total is None else total + part
        count[top : top + height, left : left + width] += 1
    return (total / jt.array(np.maximum(count, 1)))[:, :, : copy.size[0], : copy.size[1]]


def _padded(copy: GridCopy) -> tuple[int, int]:
    """(height, width) of the copy and all its windows."""
    tops, lefts = zip(*copy.positions)
    return max(copy.size[0], max(tops) + copy.crop[0]), max(copy.size[1], max(lefts) + copy.crop[1])
