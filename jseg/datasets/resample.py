"""Resizes images and masks as the released recipe does, with the results of OpenCV through mmcv.

Bilinear means half-pixel centres without antialiasing, except that halving both sides takes the mean of four
pixels. Nearest means floor(position * scale).
"""

import numpy as np

_WEIGHT_ONE = 1 << 11  # a weight of 1 in the fixed-point arithmetic of OpenCV
_VALUES_AT_ONCE = 1 << 16


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes `image` uint8 (H, W, 3) bilinearly to `size` (h, w). Every value equals that of `cv2.resize`.

    Source: OpenCV's fixed-point bilinear resize of 8-bit images (modules/imgproc/src/resize.cpp). Weights
    have 11 bits. Columns are interpolated first, and the last 4 bits of the results are dropped. Then
    rows are interpolated, and each of the two products is truncated, not rounded.
    """
    height, width, channels = image.shape
    if size == (height, width):
        return image
    if (height, width) == (2 * size[0], 2 * size[1]):
        return _halved(image)
    above, below, row_weights = _rows(height, size[0])
    needed, positions = np.unique(np.concatenate([above, below]), return_inverse=True)
    lines = _resized_columns(image if len(needed) == height else image[needed], size[1])
    above, below = positions[: size[0]], positions[size[0] :]
    resized = np.empty((size[0], lines.shape[1]), np.uint8)
    step = max(_VALUES_AT_ONCE // lines.shape[1], 1)  # a few rows at a time stay in the CPU's cache
    for top in range(0, size[0], step):
        part = slice(top, top + step)
        values = _weighted(lines, above[part], row_weights[0, part])
        values += _weighted(lines, below[part], row_weights[1, part])
        values += 2
        values >>= 2
        resized[part] = values
    return resized.reshape(*size, channels)


def _weighted(lines: np.ndarray, rows: np.ndarray, weights: np.ndarray) -> np.ndarray:
    values = lines.take(rows, 0)
    values *= weights[:, None]
    values >>= 16
    return values


def _resized_columns(image: np.ndarray, width: int) -> np.ndarray:
    """(h, W, c) uint8 -> (h, width * c) int32 in units of 1/128."""
    height, available, channels = image.shape
    first, weights = _columns(available, width)
    places = (first[:, None] * channels + np.arange(channels)).ravel()
    weights = np.repeat(weights, channels, 1)
    flat = image.reshape(height, -1)
    lines = np.empty((height, width * channels), np.int32)
    step = max(_VALUES_AT_ONCE // max(lines.shape[1], flat.shape[1]), 1)
    for top in range(0, height, step):
        part = slice(top, top + step)
        # A value and that of the next pixel share an element, because the lookup takes most of the time.
        pairs = flat[part].astype(np.int32)
        pairs[:, :-channels] += pairs[:, channels:] << 16
        pairs = pairs.take(places, 1)
        values = (pairs & 0xFFFF) * weights[0]
        pairs >>= 16
        pairs *= weights[1]
        values += pairs
        np.right_shift(values, 4, out=lines[part])
    return lines


def _taps(available: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns for each of `length` samples the neighbour before it, which may be -1, and the distance from
    it in OpenCV's precision, float32."""
    scale = 1.0 / (length / available)
    position = ((np.arange(length) + 0.5) * scale - 0.5).astype(np.float32)
    first = np.floor(position)
    return first.astype(np.intp), position - first


def _fixed_point(distance: np.ndarray) -> np.ndarray:
    """Returns the weights of both neighbours, (2, n) int32."""
    return np.rint(np.stack([1 - distance, distance]) * np.float32(_WEIGHT_ONE)).astype(np.int32)


def _rows(available: int, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns the rows above and below each sample, clamped to the image, and their weights."""
    first, distance = _taps(available, length)
    above, below = (np.clip(first + step, 0, available - 1) for step in (0, 1))
    return above, below, _fixed_point(distance)


def _columns(available: int, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the column to the left of each sample, its weight and that of the next column. Samples beyond
    the border take the column at the border only."""
    first, distance = _taps(available, length)
    distance[(first < 0) | (first >= available - 1)] = 0
    return np.clip(first, 0, available - 1), _fixed_point(distance)


def _halved(image: np.ndarray) -> np.ndarray:
    """Averages blocks of four pixels, rounding half up, as OpenCV's bilinear resize by a factor of 2 does."""
    total = image[0::2, 0::2].astype(np.uint16)
    for top, left in ((0, 1), (1, 0), (1, 1)):
        total += image[top::2, left::2]
    total += 2
    total >>= 2
    return total.astype(np.uint8)


def resize_label(label: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resizes `label` (H, W) to `size` (h, w): output pixel i is input pixel floor(i * H / h)."""
    height, width = label.shape
    rows = np.arange(size[0]) * height // size[0]
    columns = np.arange(size[1]) * width // size[1]
    return label.take(columns, 1).take(rows, 0)
