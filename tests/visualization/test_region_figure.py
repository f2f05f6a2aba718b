"""Region-classification figure: sizes, the best class, marking of unseen classes, invalid input."""

import numpy as np
import pytest
from PIL import Image

from jseg.visualization import draw_region_figure, save_region_figure
from jseg.visualization.fonts import UNSEEN
from jseg.visualization.regions import GAP, MARGIN, PICTURE_SIDE

NAMES = ("red circle", "clothes-other", "wall-concrete")
IMAGE = np.full((96, 96, 3), 40, np.uint8)


def certain(cells):
    """Probabilities (3, m, m) of 0.8 for the class given for each cell and 0.1 for the others."""
    cells = np.asarray(cells)
    probabilities = np.full((3, *cells.shape), 0.1)
    np.put_along_axis(probabilities, cells[None], 0.8, axis=0)
    return probabilities


def red_in_cell(page, side, row, column, m):
    """Number of pure red pixels in one cell of the left (0) or right (1) image."""
    pixels = np.asarray(page)
    top = next(y for y in range(page.height) if (pixels[y, MARGIN + 5] == 40).all())
    left = MARGIN + side * (PICTURE_SIDE + GAP)
    step = PICTURE_SIDE // m
    cell = pixels[
        top + row * step : top + (row + 1) * step, left + column * step : left + (column + 1) * step
    ]
    return int((cell == np.array(UNSEEN)).all(axis=-1).sum())


def test_unseen_best_class_is_red_in_its_cell_only():
    page = draw_region_figure(IMAGE, certain([[0, 1], [2, 0]]), certain([[1, 1], [1, 2]]), NAMES, [2])
    assert page.width == 2 * MARGIN + GAP + 2 * PICTURE_SIDE
    marked = {
        (side, row, column)
        for side in (0, 1)
        for row in (0, 1)
        for column in (0, 1)
        if red_in_cell(page, side, row, column, 2) > 50
    }
    assert marked == {(0, 1, 0), (1, 1, 1)}


def test_word_and_probability_change_the_cell():
    first = draw_region_figure(IMAGE, certain([[0]]), certain([[1]]), NAMES, [])
    left, right = np.asarray(first)[:, : first.width // 2], np.asarray(first)[:, first.width // 2 :]
    same = draw_region_figure(IMAGE, certain([[0]]), certain([[0]]), NAMES, [])
    assert (np.asarray(same)[:, : first.width // 2] == left).all()
    assert (np.asarray(same)[:, first.width // 2 :] != right).any()
    weaker = draw_region_figure(IMAGE, certain([[0]]) * 0.9, certain([[1]]), NAMES, [])
    assert (np.asarray(weaker) != np.asarray(first)).any()


@pytest.mark.parametrize(
    "shape, m", [((96, 96), 1), ((60, 200), 4), ((200, 60), 4), ((300, 20), 1), ((96, 96), 16)]
)
def test_words_stay_inside_the_image(shape, m, tmp_path):
    """Very long names are cut: the margin stays white for flat, tall and finely divided images."""
    names = ("incomprehensibilities of a class", "wall-concrete", "structural-other-thing")
    cells = np.arange(m * m).reshape(m, m) % 3
    image = np.full((*shape, 3), 90, np.uint8)
    save_region_figure(tmp_path / "regions.png", image, certain(cells), certain(cells[::-1]), names, [0])
    pixels = np.asarray(Image.open(tmp_path / "regions.png").convert("RGB"))
    assert (pixels[:, :MARGIN] == 255).sum() >= pixels[:, :MARGIN].size * 0.9
    assert (pixels[MARGIN + 40 : -60, : MARGIN - 1] == 255).all()
    assert (pixels[MARGIN + 40 : -60, -MARGIN + 1 :] == 255).all()


def test_refused_input():
    good = certain([[0, 1], [2, 0]])
    with pytest.raises(ValueError, match=r"\(3, 2, 2\).*\(3, 1, 1\)"):
        draw_region_figure(IMAGE, good, certain([[0]]), NAMES, [])
    with pytest.raises(ValueError, match=r"\(3, 2, 2\).*\b4\b"):
        draw_region_figure(IMAGE, good, good, (*NAMES, "more"), [])
    with pytest.raises(ValueError, match=r"\b10\b.*\b80\b"):
        draw_region_figure(IMAGE, good * 100, good, NAMES, [])
    with pytest.raises(ValueError, match=r"\bnan\b"):
        draw_region_figure(IMAGE, good * np.nan, good, NAMES, [])
    with pytest.raises(ValueError, match=r"\(96, 96\)"):
        draw_region_figure(IMAGE[..., 0], good, good, NAMES, [])
    with pytest.raises(ValueError, match="unseen.*-1"):
        draw_region_figure(IMAGE, good, good, NAMES, [-1])
