"""The test recipe on arrays: windows of an image, their average, and class maps at the original size.

Source: the slide inference of mmsegmentation. The releases use 512 px windows every 426 px. This module does
not need Jittor: a model is a function from array to array.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from jseg.interpolation import bilinear_taps, lerp

PredictFn = Callable[[np.ndarray], np.ndarray]
Size = int | Sequence[int]

_STRIP_VALUES = 8_000_000  # number of full-size class scores in memory at a time


class WindowPlan(NamedTuple):
    """The windows that cover an image.

    size: (h, w) of the image. padded: (h', w') after padding with 0 (the mean colour) at the right and the
    bottom. crop: (height, width) of a window. positions: (top, left) of each window.
    """

    size: tuple[int, int]
    padded: tuple[int, int]
    crop: tuple[int, int]
    positions: list[tuple[int, int]]


class Pass(NamedTuple):
    """Class scores (C, h, w) of one scaled and possibly mirrored copy of an image."""

    maps: np.ndarray
    mirrored: bool = False


class ClassMap(NamedTuple):
    """mask: int32 (H, W), the class with the highest score. confidence: float32 (H, W), that score."""

    mask: np.ndarray
    confidence: np.ndarray


def whole_plan(size: tuple[int, int], divisor: int = 1) -> WindowPlan:
    """One window, padded to the next multiple of `divisor`, for models that need whole patches."""
    padded = (-(-size[0] // divisor) * divisor, -(-size[1] // divisor) * divisor)
    return WindowPlan(size, padded, padded, [(0, 0)])


def slide_plan(size: tuple[int, int], crop: Size, stride: Size) -> WindowPlan:
    """Overlapping windows. Images smaller than a window are padded to its size.

    Args:
        size: (h, w) of the image.
        crop, stride: window size and step in pixels, one number or (height, width).

    Raises:
        ValueError: if the windows would leave gaps.
    """
    crop, stride = _pair(crop), _pair(stride)
    padded = (max(size[0], crop[0]), max(size[1], crop[1]))
    return WindowPlan(size, padded, crop, window_positions(padded, crop, stride))


def cut_windows(image: np.ndarray, plan: WindowPlan) -> Iterator[np.ndarray]:
    """The windows (3, *crop) of an image float32 (3, h, w), in the order of the plan."""
    missing = ((0, 0), (0, plan.padded[0] - plan.size[0]), (0, plan.padded[1] - plan.size[1]))
    padded = np.pad(image, missing) if any(after for _, after in missing) else image
    for top, left in plan.positions:
        yield np.ascontiguousarray(padded[:, top : top + plan.crop[0], left : left + plan.crop[1]])


def merge_windows(scores: Iterable[np.ndarray], plan: WindowPlan) -> np.ndarray:
    """Class scores (C, *crop) of every window, in order -> their average float32 (C, h, w)."""
    total: np.ndarray | None = None
    count = np.zeros(plan.padded, np.float32)
    for (top, left), values in zip(plan.positions, scores):
        if total is None:
            total = np.zeros((values.shape[0], *plan.padded), np.float32)
        window = (slice(top, top + plan.crop[0]), slice(left, left + plan.crop[1]))
        total[:, window[0], window[1]] += values
        count[window] += 1
    if total is None:
        raise ValueError("there are no windows to merge")
    total /= count
    return total[:, : plan.size[0], : plan.size[1]]


def merge_regions(scores: Sequence[np.ndarray], plan: WindowPlan) -> np.ndarray:
    """Joins region scores (C, m, m) of all windows, in order, into a grid over the image, float32 (C, r, c).

    Cells of the grid are about as large as a region. The score of a cell is the mean over all windows that
    contain its centre, of the region at this centre.
    """
    regions = scores[0].shape[1:]
    counts = [max(1, round(m * side / crop)) for m, side, crop in zip(regions, plan.size, plan.crop)]
    centres = [(np.arange(n) + 0.5) * side / n for n, side in zip(counts, plan.size)]
    total = np.zeros((scores[0].shape[0], *counts), np.float32)
    hits = np.zeros(counts, np.float32)
    for start, values in zip(plan.positions, scores):
        places = []
        for centre, first, crop, m in zip(centres, start, plan.crop, regions):
            inside = np.flatnonzero((centre >= first) & (centre < first + crop))
            places.append((inside, ((centre[inside] - first) * m / crop).astype(int)))
        (rows, from_rows), (columns, from_columns) = places
        total[:, rows[:, None], columns] += values[:, from_rows[:, None], from_columns]
        hits[rows[:, None], columns] += 1
    return total / hits


def predict_windows(predict_fn: PredictFn, image: np.ndarray, plan: WindowPlan) -> np.ndarray:
    """Class scores of an image, averaged over its windows.

    Args:
        predict_fn: float32 (1, 3, h, w) -> scores (1, C, h, w).
        image: float32 (3, h, w), normalised.

    Returns:
        float32 (C, h, w).

    Raises:
        ValueError: if `predict_fn` returns another shape.
    """
    return merge_windows((_call(predict_fn, window) for window in cut_windows(image, plan)), plan)


def scaled_copies(
    image: np.ndarray, scales: Sequence[float] = (1.0,), flip: bool = False
) -> Iterator[tuple[np.ndarray, bool]]:
    """Yields the copies of an image for test-time augmentation. The published results use only the image
    itself.

    Args:
        image: float32 (3, h, w), normalised, at the size of the test recipe.
        scales: factors of h and w.
        flip: add the left-right mirror image of each copy.

    Returns:
        (image, whether it is mirrored) of each copy.

    Raises:
        ValueError: if there is no scale, or one is not positive.
    """
    if not len(scales) or min(scales) <= 0:
        raise ValueError(f"scales: {tuple(scales)} must be one or more positive factors")
    for scale in scales:
        size = (_scaled(image.shape[1], scale), _scaled(image.shape[2], scale))
        resized = image if size == image.shape[1:] else resize_bilinear(image, size)
        yield resized, False
        if flip:
            yield np.ascontiguousarray(resized[..., ::-1]), True


def class_map(passes: Sequence[Pass], size: tuple[int, int]) -> ClassMap:
    """Returns the class of each pixel, after resizing all passes to `size` and averaging them.

    Strips of rows are processed one after the other, so that no full-size (C, H, W) array is needed.

    Args:
        passes: scores of at least one copy of the image.
        size: (H, W) of the result.
    """
    height, width = size
    mask, confidence = np.empty(size, np.int32), np.empty(size, np.float32)
    step = max(1, _STRIP_VALUES // (len(passes[0].maps) * width))
    for start in range(0, height, step):
        rows = slice(start, min(start + step, height))
        scores = mean_scores(passes, size, rows)
        mask[rows] = scores.argmax(0)
        confidence[rows] = scores.max(0)
    return ClassMap(mask, confidence)


def mean_scores(passes: Sequence[Pass], size: tuple[int, int], rows: slice = slice(None)) -> np.ndarray:
    """float32 (C, n, W): the n `rows` of the average of all passes at `size` (H, W)."""
    total: np.ndarray | None = None
    for maps, mirrored in passes:
        resized = resize_bilinear(maps, size, rows)
        resized = resized[..., ::-1] if mirrored else resized
        total = resized if total is None else total + resized
    assert total is not None
    return total / len(passes) if len(passes) > 1 else total


def window_positions(
    size: tuple[int, int], crop: tuple[int, int], stride: tuple[int, int]
) -> list[tuple[int, int]]:
    """(top, left) of the windows that cover `size`, row by row; the last ones end flush with the border.

    Raises:
        ValueError: if the stride is not in 1..crop.
    """
    starts = []
    for length, window, step in zip(size, crop, stride):
        if not 0 < step <= window:
            raise ValueError(
                f"stride: {step} leaves gaps between windows of {window} pixels; use 1..{window}"
            )
        last = max(length - window, 0)
        starts.append([min(start, last) for start in range(0, last + step, step)])
    return [(top, left) for top in starts[0] for left in starts[1]]


def resize_bilinear(maps: np.ndarray, size: tuple[int, int], rows: slice = slice(None)) -> np.ndarray:
    """float32 (C, h, w) resized to (C, *size); half-pixel centres, no antialiasing (align_corners=False).

    Args:
        rows: rows of the result to compute; by default all.
    """
    tops, bottoms, row_weights = (taps[rows] for taps in bilinear_taps(maps.shape[1], size[0]))
    columns, next_columns, column_weights = bilinear_taps(maps.shape[2], size[1])
    resized = np.empty((maps.shape[0], len(tops), size[1]), np.float32)
    # Two taps per sample cost far less than a dense matrix product on full-size maps, and one map at a time
    # stays in the CPU's cache. Together, this is about ten times faster on 171 maps.
    for channel, values in enumerate(maps):
        lines = lerp(values[tops], values[bottoms], row_weights[:, None])
        resized[channel] = lerp(lines.take(columns, 1), lines.take(next_columns, 1), column_weights)
    return resized


def _call(predict_fn: PredictFn, image: np.ndarray) -> np.ndarray:
    result = np.asarray(predict_fn(image[None]))
    if result.ndim != 4 or result.shape[0] != 1 or result.shape[2:] != image.shape[1:]:
        raise ValueError(
            f"predict_fn returned shape {result.shape} for an input of shape "
            f"{image[None].shape}; it must return (1, C, h, w) of the same height and width"
        )
    return result[0].astype(np.float32, copy=False)


def _scaled(side: int, scale: float) -> int:
    return max(int(side * scale + 0.5), 1)


def _pair(value: Size) -> tuple[int, int]:
    if isinstance(value, (int, np.integer)):
        return int(value), int(value)
    height, width = value
    return int(height), int(width)
