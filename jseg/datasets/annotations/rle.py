"""COCO's run lengths -> mask (`maskApi.c: rleFrString`, `rleDecode`)."""

from collections.abc import Mapping
from typing import Any

import numpy as np


def decode_rle(segmentation: Mapping[str, Any]) -> np.ndarray:
    """The region of an annotation, bool (H, W).

    `counts` holds run lengths, zeros first, column by column: a list of numbers, or a text. In the text a
    number is written in base 32, lowest digit first, a character each: 48 + digit, + 32 if more digits
    follow; the highest bit of the last digit is the sign. From the fourth number on, it is the difference to
    the run before the last one.

    Args:
        segmentation: `size` (H, W) and `counts`.

    Raises:
        ValueError: these are no run lengths, or they do not fill the size.
    """
    try:
        height, width = (int(side) for side in segmentation["size"])
        counts = segmentation["counts"]
        runs = np.array(counts, np.int64).reshape(-1) if isinstance(counts, (list, tuple)) else _runs(counts)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        raise ValueError("the segmentation holds no size and run lengths (counts)") from None
    if min(height, width) < 1 or runs.size == 0 or runs.min() < 0 or runs.sum() != height * width:
        raise ValueError(f"the run lengths of the segmentation do not make {width}x{height} pixels")
    return mask_of_runs(runs).reshape(width, height).T


def mask_of_runs(runs: np.ndarray) -> np.ndarray:
    """Run lengths, zeros first -> bool, as long as their sum."""
    return np.repeat(np.arange(len(runs)) % 2 == 1, runs)


def _runs(counts: str | bytes) -> np.ndarray:
    """Run lengths from the text; empty if it is none."""
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
    # Differences: runs 1, 3, 5, ... and 2, 4, 6, ... each add up.
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers
