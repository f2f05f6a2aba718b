"""Changing the size of pictures and masks the way the released recipe (OpenCV through mmcv) does.

Bilinear means half-pixel centres and no smoothing when shrinking; nearest means floor(position * scale).
"""

from typing import Tuple

import numpy as np
from PIL import Image


def resize_image(image: np.ndarray, size: Tuple[int, int]) -> np.ndarray:
    """`image` uint8 (H, W, 3) bilinearly resized to `size` (h, w), rounded to uint8."""
    height, width = image.shape[:2]
    if size == (height, width):
        return image
    if size[0] >= height and size[1] >= width:
        # When growing, Pillow's triangle filter is the bilinear formula, many times faster than the lines
        # below. When shrinking it averages over more pixels, which the recipe does not.
        return np.array(Image.fromarray(image).resize((size[1], size[0]), Image.Resampling.BILINEAR))
    rows = _lerp(image.astype(np.float32), size[0], axis=0)
    return np.floor(_lerp(rows, size[1], axis=1) + 0.5).astype(np.uint8)


def resize_label(label: np.ndarray, size: Tuple[int, int]) -> np.ndarray:
    """`label` (H, W) resized to `size` (h, w): output pixel i takes input pixel floor(i * H / h)."""
    height, width = label.shape
    rows = np.arange(size[0]) * height // size[0]
    columns = np.arange(size[1]) * width // size[1]
    return label[rows[:, None], columns[None, :]]


def _lerp(array: np.ndarray, length: int, axis: int) -> np.ndarray:
    """Linear interpolation of float32 `array` along `axis` to `length` samples, clamped at both ends."""
    available = array.shape[axis]
    position = np.clip((np.arange(length) + 0.5) * (available / length) - 0.5, 0, available - 1)
    left = np.floor(position).astype(np.intp)
    right = np.minimum(left + 1, available - 1)
    shape = [1] * array.ndim
    shape[axis] = length
    weight = (position - left).astype(np.float32).reshape(shape)
    start = array.take(left, axis)
    return start + (array.take(right, axis) - start) * weight
