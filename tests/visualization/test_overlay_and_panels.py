"""Overlay, legend and panels: colours at known pixels, sizes, marking of unseen classes, invalid input."""

import numpy as np
import pytest
from PIL import Image

from jseg.visualization import LegendEntry, contours, draw_legend, draw_panels, overlay, save_panels
from jseg.visualization.fonts import UNSEEN, shorten, text_width, wrap
from jseg.visualization.panels import GAP, MARGIN

PALETTE = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
NAMES = ("red circle", "green square", "blue cross")


def make_sample(size=(96, 96), name="first"):
    """Class 0 left, ignored pixels right; predicted are 2 on the right and 1 in the lower left corner."""
    label = np.full(size, 255, np.uint8)
    label[:, : size[1] // 2] = 0
    prediction = np.where(label == 0, 0, 2).astype(np.int64)
    prediction[3 * size[0] // 4 :, : size[1] // 2] = 1
    return dict(image=np.full((*size, 3), 100, np.uint8), label=label, prediction=prediction, name=name)


def count(figure, colour):
    return int((np.asarray(figure) == np.array(colour)).all(axis=-1).sum())


def test_overlay_mixes_class_colour_with_brightness():
    """alpha 0.5 over grey 100: class 0 gives (255 + 100) / 2 = 178 (rounded to even) and 50, 50."""
    image = np.full((8, 8, 3), 100, np.uint8)
    label = np.zeros((8, 8), np.uint8)
    drawn = overlay(image, label, PALETTE, alpha=0.5)
    assert drawn.dtype == np.uint8 and drawn.shape == (8, 8, 3)
    assert drawn[4, 4].tolist() == [178, 50, 50]
    assert overlay(image, label, PALETTE, alpha=1.0)[4, 4].tolist() == [255, 0, 0]
    assert overlay(image, label, PALETTE, alpha=0.0)[4, 4].tolist() == [100, 100, 100]
    assert (image == 100).all()


def test_ignored_pixels_are_neutral_and_hatched():
    image = np.zeros((30, 30, 3), np.uint8)
    image[..., 0] = 200
    drawn = overlay(image, np.full((30, 30), 255), PALETTE)
    assert (drawn[..., 0] == drawn[..., 1]).all() and (drawn[..., 1] == drawn[..., 2]).all()
    assert len(np.unique(drawn)) == 2


@pytest.mark.parametrize("brightness", [0, 255])
def test_contour_is_white_with_a_dark_rim_on_any_ground(brightness):
    image = np.full((12, 12, 3), brightness, np.uint8)
    label = np.zeros((12, 12), np.uint8)
    label[:, 6:] = 1
    drawn = overlay(image, label, PALETTE, alpha=0.5, contour_width=2)
    assert (drawn[:, 5:7] == 255).all()
    inner = drawn[0, 2].astype(float)
    np.testing.assert_allclose(drawn[0, 4], inner * 0.45, atol=1)
    assert not (overlay(image, label, PALETTE, contour_width=0)[:, 5:7] == 255).all()


def test_contours_by_hand():
    label = np.array([[0, 0, 1], [0, 0, 1], [0, 0, 0]])
    expected = np.array([[0, 1, 1], [0, 1, 1], [0, 0, 1]], bool)
    assert (contours(label) == expected).all()


def test_panels_enlarge_by_whole_numbers_and_keep_colours():
    """One 96 px sample: three images of 288 px; the colour of each part is the plain overlay's."""
    sample = make_sample()
    page = draw_panels([sample], NAMES, PALETTE, [2], alpha=1.0)
    assert page.width == 2 * MARGIN + 3 * 288 + 2 * GAP
    rows = np.asarray(page)
    top = next(y for y in range(page.height) if rows[y, MARGIN + 100].tolist() == [100, 100, 100])
    truth, prediction = MARGIN + 288 + GAP, MARGIN + 2 * (288 + GAP)
    assert rows[top + 60, truth + 60].tolist() == [255, 0, 0]
    red, green, blue = rows[top + 60, truth + 230].tolist()
    assert red == green == blue
    assert rows[top + 60, prediction + 60].tolist() == [255, 0, 0]
    assert rows[top + 260, prediction + 60].tolist() == [0, 255, 0]
    assert rows[top + 60, prediction + 230].tolist() == [0, 0, 255]


def test_mask_ignore_fades_the_prediction_and_shortens_the_legend():
    plain = draw_panels([make_sample()], NAMES, PALETTE, [2], alpha=1.0)
    masked = draw_panels([make_sample()], NAMES, PALETTE, [2], mask_ignore=True, alpha=1.0)
    assert count(plain, (0, 0, 255)) > 10000
    assert count(masked, (0, 0, 255)) == 0
    assert count(plain, UNSEEN) > 0, "class 2 is predicted, hence listed, and unseen"
    assert count(masked, UNSEEN) == 0, "class 2 occurs on ignored pixels only"


def test_unseen_classes_are_marked():
    seen = draw_legend([LegendEntry("blue cross", (0, 0, 255))], 400)
    unseen = draw_legend([LegendEntry("blue cross", (0, 0, 255), True)], 400)
    assert count(seen, UNSEEN) == 0
    assert count(unseen, UNSEEN) > 300
    name_only = np.asarray(unseen)[:, 26 : 26 + text_width("blue cross", 15)]
    assert count(name_only, UNSEEN) > 5, "the name itself is red"


def test_legend_lists_only_classes_that_occur():
    names, palette = tuple(f"class {i}" for i in range(171)), np.zeros((171, 3), np.uint8)
    palette[:, 0] = np.arange(171)
    palette[:, 1] = 77
    page = draw_panels([make_sample()], names, palette, [], alpha=0.5)
    shown = {index for index in range(171) if count(page, (index, 77, 0)) > 100}
    assert shown == {0, 1, 2}


@pytest.mark.parametrize("number", [1, 4, 8])
def test_page_width_and_background_margin(number):
    """The outermost pixels stay empty for any number of samples and length of names."""
    names = ("clothes-other", "a class name " * 20, "wall-concrete")
    samples = [make_sample(name="file name " * 20) for _ in range(number)]
    page = draw_panels(samples, names, PALETTE, [1], title="a long title " * 30)
    assert 900 <= page.width <= 1280
    pixels = np.asarray(page)
    assert all((edge == 255).all() for edge in (pixels[:10], pixels[-10:], pixels[:, :16], pixels[:, -16:]))


def test_images_of_different_shape_and_without_label(tmp_path):
    wide, high = make_sample((150, 500)), make_sample((500, 150))
    assert 900 <= draw_panels([wide, high], NAMES, PALETTE, [2]).width <= 1280
    unlabelled = {key: value for key, value in wide.items() if key != "label"}
    save_panels(tmp_path / "new" / "panels.png", [unlabelled], NAMES, PALETTE, [2])
    with Image.open(tmp_path / "new" / "panels.png") as figure:
        assert figure.format == "PNG"
    assert [entry.name for entry in (tmp_path / "new").iterdir()] == ["panels.png"], "no temporary file"
    with pytest.raises(ValueError, match="first.*label"):
        draw_panels([wide, unlabelled], NAMES, PALETTE, [2])


def test_refused_input(tmp_path):
    good = make_sample()
    with pytest.raises(ValueError, match=r"first.*\(90, 96\).*\(96, 96\)"):
        draw_panels([dict(good, label=good["label"][:90])], NAMES, PALETTE, [2])
    with pytest.raises(ValueError, match=r"palette.*\b2\b.*\b3\b"):
        draw_panels([good], NAMES, PALETTE[:2], [2])
    with pytest.raises(ValueError, match=r"first.*\b7\b.*\b3\b"):
        draw_panels([dict(good, prediction=np.full((96, 96), 7))], NAMES, PALETTE, [2])
    with pytest.raises(ValueError, match=r"unseen.*\b3\b"):
        draw_panels([good], NAMES, PALETTE, [3])
    with pytest.raises(ValueError, match="float32"):
        draw_panels([dict(good, image=good["image"].astype(np.float32))], NAMES, PALETTE, [2])
    with pytest.raises(ValueError, match="sample"):
        draw_panels([], NAMES, PALETTE, [2])
    with pytest.raises(ValueError, match="'prediction'"):
        draw_panels([dict(image=good["image"])], NAMES, PALETTE, [2])
    with pytest.raises(ValueError, match=r"alpha.*\b2\b"):
        overlay(good["image"], good["label"], PALETTE, alpha=2)
    with pytest.raises(ValueError, match=r"a\.gif.*\.png"):
        save_panels(tmp_path / "a.gif", [good], NAMES, PALETTE, [2])


def test_failed_write_keeps_the_previous_image(tmp_path, monkeypatch):
    path = tmp_path / "panels.png"
    save_panels(path, [make_sample()], NAMES, PALETTE, [2])
    before = path.read_bytes()

    def fail(*arguments):
        raise OSError("disk full")

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        save_panels(path, [make_sample((64, 64))], NAMES, PALETTE, [2])
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["panels.png"]


def test_text_helpers():
    assert shorten("short", 15, 200) == "short"
    cut = shorten("a very long class name indeed", 15, 100)
    assert cut.endswith("...") and text_width(cut, 15) <= 100
    assert wrap("clothes-other", 15, 70) == ["clothes-", "other"]
    assert wrap("red circle", 15, 500) == ["red circle"]
