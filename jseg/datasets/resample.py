"""Resizes images and masks as the released recipe does (OpenCV through mmcv).

Bilinear means half-pixel centres without antialiasing; nearest means floor(position * scale).
"""

import numpy as np
from PIL import Image

from jseg.interpolation import bilinear_taps, lerp

_VALUES_AT_ONCE = 1 << 15


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes `image` uint8 (H, W, 3) bilinearly to `size` (h, w), rounded to uint8."""
    height, width = image.shape[:2]
    if size == (height, width):
        return image
    if size[0] >= height and size[1] >= width:
        # For enlarging, Pillow's triangle filter is the bilinear formula, and many times faster than the code
        # below. For shrinking, it averages over more pixels, unlike the recipe.
        return np.array(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR))
    resized = np.empty((*size, 3), np.uint8)
    rows, columns = bilinear_taps(height, size[0]), bilinear_taps(width, size[1])
    step = max(_VALUES_AT_ONCE // (3 * width), 1)  # a few rows at a time stay in the CPU's cache
    for top in range(0, size[0], step):
        part = slice(top, top + step)
        above, below = (image[tap[part]].astype(np.float32) for tap in rows[:2])
        lines = lerp(above, below, rows[2][part, None, None])
        values = lerp(lines.take(columns[0], 1), lines.take(columns[1], 1), columns[2][:, None])
        values += np.float32(0.5)
        resized[part] = values
    return resized


def resize_label(label: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes `label` (H, W) to `size` (h, w): output pixel i is input pixel floor(i * H / h)."""
    height, width = label.shape
    rows = np.arange(size[0]) * height // size[0]
    columns = np.arange(size[1]) * width // size[1]
    return label.take(columns, 1).take(rows, 0)
