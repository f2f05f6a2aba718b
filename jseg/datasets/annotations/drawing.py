"""Draws the regions of an image into a label. One of two rules decides where regions overlap.

'later': a region covers those that come before it in the file, as labelling tools show them.
'smaller': a smaller region covers a larger one, for formats whose regions are not ordered.

With both rules, regions of a higher layer cover those of lower layers, and of two regions of the same size
the later one covers the other.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jseg.datasets.annotations.polygons import Size
from jseg.datasets.annotations.regions import Region
from jseg.labels import IGNORE_INDEX

OVERLAPS = ("later", "smaller")
UNNAMED = 254
"""Label of a pixel outside of all regions, or in a region of the background."""
MOST_CLASSES = UNNAMED


class Drawn(NamedTuple):
    """A label, uint8 (H, W): class numbers, `UNNAMED` or 255.

    `contested` is the number of pixels in regions of two classes. `problems` has one sentence for each region
    that was left out.
    """

    label: np.ndarray
    contested: int = 0
    problems: Sequence[str] = ()


class _Piece(NamedTuple):
    """The bounding box of a drawn region: its upper left corner, the mask in it, and its label and layer."""

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
            problems.append(f"region {number} ({region.word}) does not cover any pixel of the image")
        else:
            pieces.append(piece)
    pieces.sort(key=lambda piece: (piece.layer, -piece.area if overlap == "smaller" else 0))
    return Drawn(*_painted(pieces, size), problems)


def _cut_out(region: Region, code: int, size: Size) -> _Piece | None:
    """Keeps only the bounding box of a region, since an image may have hundreds of them."""
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
