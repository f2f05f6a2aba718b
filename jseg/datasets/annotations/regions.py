"""Labelled regions of an image, each of which can be drawn as a mask."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jseg.datasets.annotations.polygons import Size, fill_polygons
from jseg.datasets.annotations.rle import decode_rle

_FARTHEST = 100_000  # pixels; coordinates beyond are errors, and would take long to draw


class Unfit(ValueError):
    """Something in an annotation that cannot become part of a mask. The message says what and why."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Region(ABC):
    """A labelled region.

    Attributes:
        word: its class word. layer: regions of a higher layer cover those of a lower one.
    """

    word: str
    layer: int = 0

    @abstractmethod
    def mask(self, size: Size) -> np.ndarray:
        """Returns the mask, bool (H, W).

        Raises:
            Unfit: if the region cannot be drawn into an image of this size.
        """


@dataclass(frozen=True, eq=False, kw_only=True)
class PolygonRegion(Region):
    """The union of polygons, drawn by COCO's rule; see `points`."""

    parts: tuple[np.ndarray, ...]

    def mask(self, size: Size) -> np.ndarray:
        """See `Region.mask`."""
        return fill_polygons(self.parts, size)


@dataclass(frozen=True, eq=False, kw_only=True)
class RunRegion(Region):
    """COCO's run lengths, compressed or not."""

    segmentation: Mapping[str, Any]

    def mask(self, size: Size) -> np.ndarray:
        """See `Region.mask`."""
        region = decode_rle(self.segmentation)
        if region.shape != tuple(size):
            raise Unfit(
                f"its run lengths are for {shown(region.shape)} pixels, but its image has {shown(size)}"
            )
        return region


@dataclass(frozen=True, eq=False, kw_only=True)
class EllipseRegion(Region):
    """The pixels whose centres lie inside an ellipse, rotated clockwise by `degrees`."""

    centre: tuple[float, float]
    radii: tuple[float, float]
    degrees: float = 0.0

    def mask(self, size: Size) -> np.ndarray:
        """See `Region.mask`."""
        y, x = np.ogrid[: size[0], : size[1]]
        x, y = x + 0.5 - self.centre[0], y + 0.5 - self.centre[1]
        cosine, sine = np.cos(np.radians(self.degrees)), np.sin(np.radians(self.degrees))
        along, across = x * cosine + y * sine, y * cosine - x * sine
        radii = np.maximum(self.radii, 1e-9)
        return (along / radii[0]) ** 2 + (across / radii[1]) ** 2 <= 1


def points(coordinates: Any) -> np.ndarray:
    """Returns the corners of a polygon, float64 (n, 2), from pairs or a flat list of numbers.

    Raises:
        Unfit: if there are fewer than three corners, or coordinates are far outside of any image.
    """
    try:
        corners = np.asarray(coordinates, np.float64).reshape(-1, 2)
    except (TypeError, ValueError):
        raise Unfit("its outline is not a list of points x, y") from None
    if len(corners) < 3:
        raise Unfit(f"its outline has {len(corners)} points, but an area needs at least three")
    if not (np.abs(corners) < _FARTHEST).all():  # NaN fails too
        raise Unfit("its outline has points far outside of any image")
    return corners


def rectangle(left: float, top: float, right: float, bottom: float, degrees: float = 0.0) -> np.ndarray:
    """Returns the corners of a rectangle, rotated clockwise by `degrees` about its centre, float64 (4, 2)."""
    corners = points([(left, top), (right, top), (right, bottom), (left, bottom)])
    return turned(corners, corners.mean(0), degrees) if degrees else corners


def turned(corners: np.ndarray, centre: Sequence[float] | np.ndarray, degrees: float) -> np.ndarray:
    """Returns points (n, 2), rotated clockwise (on the screen, y downwards) about a point."""
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return (corners - centre) @ np.array([[cosine, sine], [-sine, cosine]]) + centre


def pasted(patch: np.ndarray, left: int, top: int, size: Size) -> np.ndarray:
    """Returns a mask (h, w) at its position in an image, bool (H, W). Parts outside are cut off."""
    whole = np.zeros(size, bool)
    first_row, first_column = max(-top, 0), max(-left, 0)
    inside = patch[first_row : max(size[0] - top, 0), first_column : max(size[1] - left, 0)]
    row, column = max(top, 0), max(left, 0)
    whole[row : row + inside.shape[0], column : column + inside.shape[1]] = inside
    return whole


def shown(size: Sequence[int]) -> str:
    """Returns (H, W) as text: WxH."""
    return f"{size[1]}x{size[0]}"
