"""Bilinear interpolation from its definition, to compare resizing with."""

from collections.abc import Sequence

import numpy as np


def plain_bilinear(image: np.ndarray, size: Sequence[int]) -> np.ndarray:
    """(h, w, c) -> (H, W, c) float64, half-pixel centres, clamped
    at the borders, one output pixel at a time."""
    height, width = image.shape[:2]
    out = np.zeros((*size, image.shape[2]))
    for y in range(size[0]):
        for x in range(size[1]):
            v = min(max((y + 0.5) * height / size[0] - 0.5, 0), height - 1)
            u = min(max((x + 0.5) * width / size[1] - 0.5, 0), width - 1)
            top, left = int(v), int(u)
            bottom, right = min(top + 1, height - 1), min(left + 1, width - 1)
            a, b = v - top, u - left
            out[y, x] = (1 - a) * ((1 - b) * image[top, left] + b * image[top, right]) + a * (
                (1 - b) * image[bottom, left] + b * image[bottom, right]
            )
    return out
