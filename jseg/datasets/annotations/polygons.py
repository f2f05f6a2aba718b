"""Polygons as masks by COCO's rule, that of pycocotools. Pixel (x, y) covers x..x+1 and y..y+1.

A pixel belongs to a polygon if its centre is inside, up to a fifth of a pixel, so that neighbours with a
common edge neither overlap nor leave a gap.
"""

from collections.abc import Sequence

import numpy as np

Size = tuple[int, int]  # (H, W)


def require_pycocotools() -> None:
    """Raises ValueError if pycocotools is missing, so that a conversion does not fail halfway."""
    try:
        import pycocotools.mask  # noqa: F401
    except ImportError:
        raise ValueError(
            "drawing polygons by COCO's rule needs pycocotools: pip install -e '.[annotations]' (or pip "
            "install pycocotools)"
        ) from None


def fill_polygons(parts: Sequence[np.ndarray], size: Size) -> np.ndarray:
    """Returns the union of polygons by COCO's rule, bool (H, W).

    A polygon that crosses itself is filled by the even-odd rule.

    Args:
        parts: float (n, 2) each, x and y in pixels, n at least 3. Parts outside the image are cut off.
        size: (H, W).
    """
    from pycocotools import mask

    height, width = size
    flat = [np.asarray(points, np.float64).reshape(-1).tolist() for points in parts]
    return mask.decode(mask.merge(mask.frPyObjects(flat, height, width))).astype(bool)
