"""What goes into a class map, and what comes out."""

from collections.abc import Sequence
from typing import NamedTuple

from jseg.runtime.backend import jt


class GridCopy(NamedTuple):
    """Logits of one scaled and perhaps mirrored copy of B images.

    Attributes:
        logits: (B, windows, C, h, w) float32 on the patch grids of the windows.
        size: (height, width) of the copy in pixels; windows may reach beyond it.
        crop: (height, width) of a window in pixels.
        positions: (top, left) of each window.
        mirrored: whether the copy is the left-right mirror image.
        covered: (height, width) in pixels that the patches of a window cover. What lies beyond the crop is
            cut off. None where that is the crop.
    """

    logits: jt.Var
    size: tuple[int, int]
    crop: tuple[int, int]
    positions: Sequence[tuple[int, int]]
    mirrored: bool = False
    covered: tuple[int, int] | None = None


class ClassMap(NamedTuple):
    """mask: (B, H, W) int32, the class with the highest score. confidence: (B, H, W) float32, that score."""

    mask: jt.Var
    confidence: jt.Var
