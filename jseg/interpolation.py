"""Linear interpolation between samples with half-pixel centres (`align_corners=False`), borders clamped."""

import numpy as np


def bilinear_taps(available: int, length: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each of `length` samples: the two neighbours among
    `available`, intp, and the weight of the second, float64."""
    position = np.clip((np.arange(length) + 0.5) * (available / length) - 0.5, 0, available - 1)
    first = np.floor(position).astype(np.intp)
    return first, np.minimum(first + 1, available - 1), position - first


def lerp(start: np.ndarray, end: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """start + (end - start) * weight, computed in the memory and the type of `end`."""
    end -= start
    end *= weight.astype(end.dtype, copy=False)
    end += start
    return end


def interpolation_matrix(available: int, length: int) -> np.ndarray:
    """(length, available) float64: row i holds the weights of the samples that make up sample i."""
    first, second, weight = bilinear_taps(available, length)
    matrix = np.zeros((length, available))
    np.add.at(matrix, (np.arange(length), first), 1 - weight)
    np.add.at(matrix, (np.arange(length), second), weight)
    return matrix
