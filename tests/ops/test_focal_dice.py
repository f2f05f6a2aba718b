"""Sums of the focal and dice losses, against their definition in float64."""

import numpy as np
import pytest
from map_references import assert_sums_and_gradients

from jseg.ops import focal_dice
from jseg.runtime.backend import jt


@pytest.mark.parametrize(
    "images, classes, grid, size", [(2, 3, (4, 3), (37, 21)), (1, 2, (1, 1), (2, 1)), (1, 2, (9, 8), (5, 8))]
)
def test_sums_and_gradients(either_path: str, images: int, classes: int, grid, size) -> None:
    assert_sums_and_gradients(images, classes, grid, size)


def test_many_pixels_lose_no_digits() -> None:
    """Sums over a quarter of a million equal pixels; one float32 sum is off by more than 1e-5 there.

    Equal pixels and rows are rounded in the same direction, so that those errors do not average out: they
    leave 3e-7 with vectors of 8 numbers and 4e-7 with 16.
    """
    logits, label = np.full((1, 1, 1, 1), -1.3, np.float32), np.full((1, 512, 512), -1, np.int32)
    sums = focal_dice(jt.array(logits), jt.array(label))
    p = 1 / (1 + np.exp(1.3))
    assert sums.size.item() == pytest.approx(p * 2**18, rel=1e-6)
    assert sums.focal.item() == pytest.approx(-0.75 * p**2 * np.log1p(-p), rel=1e-6)


def test_wrong_inputs_are_named() -> None:
    with pytest.raises(ValueError, match=r"\[1, 2, 3\].*float32"):
        focal_dice(jt.zeros((1, 1, 2, 3)), jt.zeros((1, 2, 3)))
