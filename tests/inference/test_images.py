"""Supported images, their conversion to RGB, and the files of folders and patterns."""

import numpy as np
import pytest
from PIL import Image

from jseg.inference.images import expand, read_rgb

RGB = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)


def test_every_form_gives_the_same_pixels(tmp_path):
    path = tmp_path / "a.png"
    Image.fromarray(RGB).save(path)
    for form in (path, str(path), Image.fromarray(RGB), RGB, np.dstack([RGB, RGB[..., :1]])):
        np.testing.assert_array_equal(read_rgb(form), RGB)
    grey = RGB[..., 0]
    for form in (grey, grey[..., None], Image.fromarray(grey)):
        np.testing.assert_array_equal(read_rgb(form), np.dstack([grey] * 3))


def test_the_orientation_of_a_camera_is_obeyed(tmp_path):
    exif = Image.Exif()
    exif[274] = 6  # turned by 90 degrees
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=exif)
    turned = np.rot90(RGB, -1)
    np.testing.assert_array_equal(read_rgb(tmp_path / "a.png"), turned)
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(read_rgb(image), turned)


@pytest.mark.parametrize(
    "image, named",
    [
        (RGB / np.float32(255), "float32"),
        (RGB.astype(np.uint16), "uint16"),
        (RGB[..., :2], r"\(6, 9, 2\)"),
        (np.zeros((0, 5, 3), np.uint8), r"\(0, 5, 3\)"),
        (RGB, r"9x6.*\b50\b"),
        (Image.fromarray(RGB), r"9x6.*\b50\b"),
    ],
)
def test_arrays_that_are_no_images_are_refused(image, named):
    with pytest.raises(ValueError, match=named):
        read_rgb(image, max_pixels=50)


def test_files_that_are_no_images_are_named(tmp_path):
    (tmp_path / "a.png").write_text("no image")
    with pytest.raises(ValueError, match=r"a\.png"):
        read_rgb(tmp_path / "a.png")
    with pytest.raises(FileNotFoundError, match=r"b\.png"):
        read_rgb(tmp_path / "b.png")
    with pytest.raises(ValueError, match="folder"):
        read_rgb(tmp_path)


def test_folders_and_patterns_are_listed_in_order(tmp_path):
    for name in ("b.png", "a.JPG", ".hidden.png", "notes.txt", "inside/c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    names = [path.name for path in expand(tmp_path)]
    assert names == ["a.JPG", "b.png"]
    assert [path.name for path in expand(str(tmp_path / "*.png"))] == ["b.png"]
    assert [path.name for path in expand([tmp_path / "inside", tmp_path / "b.png"])] == ["c.png", "b.png"]
    for number in (10, 2, 1):
        (tmp_path / "inside" / f"frame{number}.png").touch()
    names = [path.name for path in expand(tmp_path / "inside")]
    assert names == ["c.png", "frame1.png", "frame2.png", "frame10.png"]
    assert [path.name for path in expand(str(tmp_path / "inside" / "f*"))] == names[1:]
    (only,) = expand(RGB)
    assert only is RGB
    for wrong in (tmp_path / "none.png", str(tmp_path / "*.gif")):
        with pytest.raises(FileNotFoundError):
            list(expand(wrong))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty"):
        list(expand(tmp_path / "empty"))
