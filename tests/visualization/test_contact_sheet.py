"""Contact sheets of labels over their images."""

import numpy as np
import pytest

from jseg.visualization import draw_contact_sheet
from jseg.visualization.contact_sheet import COLUMNS, GAP, TILE

PALETTE = np.array([[250, 0, 0], [0, 0, 250]], np.uint8)


def sample(height, width, name="x"):
    label = np.full((height, width), 255, np.uint8)
    label[:, : width // 3] = 1
    return dict(image=np.full((height, width, 3), (10, 200, 30), np.uint8), label=label, name=name)


def test_a_label_is_drawn_and_the_rest_of_the_image_left_alone():
    page = np.asarray(draw_contact_sheet([sample(40, 80)], ("cat", "dog"), PALETTE))
    row = page[GAP + TILE // 4, GAP : GAP + TILE].astype(int)
    assert (row[TILE // 6, 2] - row[TILE // 6, 0] > 100) and row[TILE // 6, 1] < 100
    np.testing.assert_array_equal(row[TILE // 2], (10, 200, 30))


def test_rows_are_as_high_as_their_images():
    wide, tall = sample(20, 80), sample(80, 20)
    flat = draw_contact_sheet([wide] * (COLUMNS + 1), ("cat", "dog"), PALETTE)
    mixed = draw_contact_sheet([wide] * COLUMNS + [tall], ("cat", "dog"), PALETTE)
    assert flat.width == mixed.width == COLUMNS * (TILE + GAP) + GAP
    assert mixed.height - flat.height == TILE - TILE // 4


def test_nothing_to_draw_and_labels_without_a_colour():
    with pytest.raises(ValueError, match="no sample"):
        draw_contact_sheet([], ("cat",), PALETTE)
    with pytest.raises(ValueError, match="label 1"):
        draw_contact_sheet([sample(9, 9)], ("cat",), PALETTE[:1])
