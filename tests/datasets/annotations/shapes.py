"""Rectangles of whole pixels, whose masks can be written down by hand."""

import numpy as np

SIZE = (8, 12)  # (H, W)


def box(left, top, right, bottom):
    """A rectangle as a polygon."""
    return [[left, top], [right, top], [right, bottom], [left, bottom]]


def flat(left, top, right, bottom):
    """The same as a flat list of numbers."""
    return [value for point in box(left, top, right, bottom) for value in point]


def label(*areas, size=SIZE):
    """A label of rectangles (class, left, top, right, bottom), painted in order; 255 elsewhere."""
    expected = np.full(size, 255, np.uint8)
    for index, left, top, right, bottom in areas:
        expected[top:bottom, left:right] = index
    return expected
