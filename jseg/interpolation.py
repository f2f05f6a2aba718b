"""Linear and cubic interpolation with half-pixel centres (`align_corners=False`) and clamped borders."""

import numpy as np


def bilinear_taps(available: int, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Finds the two neighbours and the weight of each of `length` samples.

    Returns:
        Index of the first and of the second neighbour among `available` samples (intp), and the weight of the
        second (float64), each of shape (length,).
    """
    position = np.clip((np.arange(length) + 0.5) * (available / length) - 0.5, 0, available - 1)
    first = np.floor(position).astype(np.intp)
    return first, np.minimum(first + 1, available - 1), position - first


def lerp(start: np.ndarray, end: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Returns start + (end - start) * weight, computed in place in `end` and in its dtype."""
    end -= start
    end *= weight.astype(end.dtype, copy=False)
    end += start
    return end


def interpolation_matrix(available: int, length: int) -> np.ndarray:
    """Returns a (length, available) float64 matrix. Row i holds the weights of the inputs of output sample
    i."""
    first, second, weight = bilinear_taps(available, length)
    matrix = np.zeros((length, available))
    np.add.at(matrix, (np.arange(length), first), 1 - weight)
    np.add.at(matrix, (np.arange(length), second), weight)
    return matrix


def cubic_matrix(available: int, length: int) -> np.ndarray:
    """Returns the (length, available) float64 weights of cubic convolution with a = -0.75, as in PyTorch's
    `interpolate(mode="bicubic")`: half-pixel centres, no antialiasing, clamped borders."""
    position = (np.arange(length) + 0.5) * (available / length) - 0.5
    first = np.floor(position)
    matrix = np.zeros((length, available))
    for tap in range(-1, 3):
        index = np.clip(first + tap, 0, available - 1).astype(np.intp)
        np.add.at(matrix, (np.arange(length), index), _cubic(np.abs(position - first - tap)))
    return matrix


def _cubic(distance: np.ndarray, a: float = -0.75) -> np.ndarray:
    near = ((a + 2) * distance - (a + 3)) * distance**2 + 1
    far = ((a * distance - 5 * a) * distance + 8 * a) * distance - 4 * a
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))
