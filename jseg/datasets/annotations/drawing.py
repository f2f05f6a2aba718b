"""The regions of an image -> its label. Where regions overlap, one rule of two decides.

'later': a region covers those that come before it in the file, as labelling tools show them.
'smaller': a smaller region covers a larger one, for formats whose regions have no order.

Regions of a higher layer cover lower layers under both rules; of two equal ones, the later covers the other.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jseg.datasets.annotations.polygons import Size
from jseg.datasets.annotations.regions import Region
from jseg.labels import IGNORE_INDEX

OVERLAPS = ("later", "smaller")
UNNAMED = 254
"""In labels as they are drawn: a pixel that no region names, or one named as background."""
MOST_CLASSES = UNNAMED


class Drawn(NamedTuple):
    """A label, uint8 (H, W): class numbers, `UNNAMED` or 255.

    `contested` is the number of pixels that regions of two classes claim, and `problems` says which regions
    were left out, one sentence each.
    """

    label: np.ndarray
    contested: int = 0
    problems: Sequence[str] = ()


class _Piece(NamedTuple):
    """A drawn region, cut out: the place of its upper left corner, its mask, and what it is drawn with."""

    row: int
    column: int
    mask: np.ndarray
    code: int
    layer: int
    area: int


def draw(regions: Sequence[Region], codes: Mapping[str, int], size: Size, overlap: str) -> Drawn:
    """Draws regions over one another.

    Args:
        regions: in the order of the file.
        codes: word -> class number, `UNNAMED` or 255; other words become 255.
        size: (H, W).
        overlap: one of `OVERLAPS`.
    """
    pieces: list[_Piece] = []
    problems = []
    for number, region in enumerate(regions, 1):
        try:
            piece = _cut_out(region, codes.get(region.word, IGNORE_INDEX), size)
        except (ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError) as problem:
            problems.append(f"region {number} ({region.word}): {problem}")
            continue
        if piece is None:
            problems.append(f"region {number} ({region.word}) covers no pixel of the image")
        else:
            pieces.append(piece)
    pieces.sort(key=lambda piece: (piece.layer, -piece.area if overlap == "smaller" else 0))
    return Drawn(*_painted(pieces, size), problems)


def _cut_out(region: Region, code: int, size: Size) -> _Piece | None:
    """A piece takes the memory of its box: an image may have hundreds."""
    mask = region.mask(size)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not rows.size:
        return None
    box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].copy()
    return _Piece(int(rows[0]), int(columns[0]), box, code, region.layer, int(box.sum()))


def _painted(pieces: Sequence[_Piece], size: Size) -> tuple[np.ndarray, int]:
    label = np.full(size, UNNAMED, np.uint8)
    contested = np.zeros(size, bool)
    for piece in pieces:
        height, width = piece.mask.shape
        place = np.s_[piece.row : piece.row + height, piece.column : piece.column + width]
        below = label[place]
        if piece.code < UNNAMED:
            contested[place] |= piece.mask & (below < UNNAMED) & (below != piece.code)
        below[piece.mask] = piece.code
    return label, int(contested.sum())
