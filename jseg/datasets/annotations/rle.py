"""COCO's run lengths -> mask (`maskApi.c: rleFrString`, `rleDecode`)."""

from collections.abc import Mapping
from typing import Any

import numpy as np


def decode_rle(segmentation: Mapping[str, Any]) -> np.ndarray:
    """Returns the region of an annotation, bool (H, W).

    `counts` contains run lengths in column-major order, starting with zeros, as a list or as a string. In the
    string, a number is written in base 32, lowest digit first, one character per digit: 48 + digit, + 32 if
    more digits follow. The highest bit of the last digit is the sign. From the fourth number on, a number is
    the difference from the run two positions earlier.

    Args:
        segmentation: `size` (H, W) and `counts`.

    Raises:
        ValueError: if these are not run lengths, or they do not fill the size.
    """
    try:
        height, width = (int(side) for side in segmentation["size"])
        counts = segmentation["counts"]
        runs = np.array(counts, np.int64).reshape(-1) if isinstance(counts, (list, tuple)) else _runs(counts)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise ValueError("the segmentation has no size and run lengths (counts)") from None
    if min(height, width) < 1 or runs.size == 0 or runs.min() < 0 or runs.sum() != height * width:
        raise ValueError(f"the run lengths of the segmentation do not add up to {width}x{height} pixels")
    return mask_of_runs(runs).reshape(width, height).T


def mask_of_runs(runs: np.ndarray) -> np.ndarray:
    """Returns bool values from run lengths, starting with False."""
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs)


def _runs(counts: str | bytes) -> np.ndarray:
    """Returns run lengths from the string, or nothing if it is invalid."""
    text = counts if isinstance(counts, bytes) else counts.encode("ascii")
    digits = np.frombuffer(text, np.uint8).astype(np.int64) - 48
    last = (digits & 32) == 0
    if digits.size == 0 or digits.min() < 0 or digits.max() > 63 or not last[-1]:
        return np.empty(0, np.int64)
    starts = np.concatenate([[0], np.flatnonzero(last)[:-1] + 1])
    lengths = np.diff(np.append(starts, digits.size))
    place = np.arange(digits.size) - np.repeat(starts, lengths)
    if place.max() > 11:  # 60 bits and more: no image is that large, and int64 would overflow
        return np.empty(0, np.int64)
    numbers = np.add.reduceat((digits & 31) << (5 * place), starts)
    negative = (digits[last] & 16) != 0
    numbers = numbers - np.where(negative, np.left_shift(1, 5 * lengths), 0)
    # Undo the differences: runs 1, 3, 5, ... and 2, 4, 6, ... are summed separately.
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers
