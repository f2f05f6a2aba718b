"""Orients image files by the Orientation tag that cameras write (Exif 2.3, tag 274)."""

import numpy as np
from PIL import Image

_TAG = 274
# The operation that undoes each value; 1 is upright. Values from 5 on swap width and height.
_UNDO = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_FIRST_SWAPPED = 5


def upright(image: Image.Image, size: tuple[int, int] | None = None) -> Image.Image:
    """Returns the image as viewers and labelling tools show it, or unchanged if only the stored image has
    `size`.

    Args:
        image: image as opened, with the metadata of its file.
        size: (H, W) of its mask, or None.
    """
    value = _orientation(image)
    if value not in _UNDO:
        return image
    stored = (image.height, image.width)
    if size is not None and value >= _FIRST_SWAPPED and tuple(size) == stored != stored[::-1]:
        return image  # the mask was drawn on the stored pixels
    return image.transpose(_UNDO[value])


def _orientation(image: Image.Image) -> object:
    try:
        return image.getexif().get(_TAG)
    except Exception:  # Pillow raises many types for damaged metadata; the image itself is intact
        return None


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Returns (H, W) of the upright image."""
    value = _orientation(image)
    swapped = value in _UNDO and value >= _FIRST_SWAPPED
    return (image.width, image.height) if swapped else (image.height, image.width)


def turned_upright(label: np.ndarray, image: Image.Image) -> np.ndarray:
    """Returns a label, uint8 (H, W), of the stored pixels, rotated as `upright` rotates the image."""
    value = _orientation(image)
    return np.asarray(Image.fromarray(label).transpose(_UNDO[value])) if value in _UNDO else label
