"""Images with a camera's orientation tag are read as viewers show them, unless the mask says otherwise."""

import numpy as np
import pytest
from PIL import Image

from jseg.datasets import FolderDataset, read_image, save_mask
from jseg.datasets.clip_image import clip_preprocess, read_clip_image
from jseg.datasets.prepare.check import check_pair
from jseg.datasets.prepare.work import Pair

UPRIGHT = np.arange(3 * 5 * 3, dtype=np.uint8).reshape(3, 5, 3) * 5
# Exif 2.3, tag 274: which side of the scene row 0 and column 0 of the stored pixels are.
STORED = {
    1: UPRIGHT,  # top, left
    2: UPRIGHT[:, ::-1],  # top, right
    3: UPRIGHT[::-1, ::-1],  # bottom, right
    4: UPRIGHT[::-1],  # bottom, left
    5: UPRIGHT.transpose(1, 0, 2),  # left, top
    6: UPRIGHT[:, ::-1].transpose(1, 0, 2),  # right, top
    7: UPRIGHT[::-1, ::-1].transpose(1, 0, 2),  # right, bottom
    8: UPRIGHT[::-1].transpose(1, 0, 2),  # left, bottom
}


def write(path, pixels, orientation):
    exif = Image.Exif()
    exif[274] = orientation
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.ascontiguousarray(pixels)).save(path, exif=exif)
    return path


@pytest.mark.parametrize("orientation", STORED)
def test_images_are_read_upright(tmp_path, orientation):
    path = write(tmp_path / "x.png", STORED[orientation], orientation)
    np.testing.assert_array_equal(read_image(path), UPRIGHT)
    np.testing.assert_array_equal(read_image(path, (3, 5)), UPRIGHT)
    np.testing.assert_array_equal(read_clip_image(path, 3), clip_preprocess(Image.fromarray(UPRIGHT), 3))


def test_a_mask_of_the_stored_pixels_keeps_them(tmp_path):
    """A mask can contradict the tag only if it swaps the sides. For half
    turns and square images, the tag is always applied."""
    path = write(tmp_path / "x.png", STORED[6], 6)
    np.testing.assert_array_equal(read_image(path, (5, 3)), STORED[6])
    # Fits neither: reported at the size users see.
    np.testing.assert_array_equal(read_image(path, (9, 9)), UPRIGHT)
    np.testing.assert_array_equal(read_image(write(tmp_path / "half.png", STORED[3], 3), (3, 5)), UPRIGHT)
    square = STORED[6][:3]
    np.testing.assert_array_equal(
        read_image(write(tmp_path / "square.png", square, 6), (3, 3)), np.rot90(square, -1)
    )


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_jpeg_and_damaged_tags(tmp_path):
    """A JPEG of a phone is rotated. Unreadable metadata
    or meaningless values do not make an image unreadable."""
    path = write(tmp_path / "x.jpg", np.full((16, 32, 3), 90, np.uint8), 8)
    assert read_image(path).shape == (32, 16, 3)
    content = path.read_bytes()
    for wrong in (
        content.replace(b"Exif\0\0MM", b"Exif\0\0XX"),
        content.replace(b"Exif\0\0MM\0*\0\0\0\x08", b"Exif\0\0MM\0*\0\0\xff\xff"),
    ):
        assert wrong != content
        path.write_bytes(wrong)
        assert read_image(path).shape == (16, 32, 3)
    assert read_image(write(path, np.zeros((16, 32, 3), np.uint8), 9)).shape == (16, 32, 3)


def test_every_reader_of_a_data_set_agrees(tmp_path):
    """Masks drawn on the upright image and masks of the stored pixels, side by side in one dataset."""
    upright, stored = (write(tmp_path / f"images/{name}.png", STORED[6], 6) for name in ("upright", "stored"))
    (tmp_path / "masks").mkdir()
    save_mask(tmp_path / "masks/upright.png", np.zeros((3, 5)), [])
    save_mask(tmp_path / "masks/stored.png", np.zeros((5, 3)), [])
    (tmp_path / "classes.txt").write_text("thing\n")
    dataset = FolderDataset(str(tmp_path))
    images = {name: image for image, _, name in map(dataset.raw, range(len(dataset)))}
    np.testing.assert_array_equal(images["upright"], UPRIGHT)
    np.testing.assert_array_equal(images["stored"], STORED[6])
    for path in (upright, stored):
        assert check_pair(Pair(path, tmp_path / f"masks/{path.name}", 1)) == []
    unlabelled = FolderDataset(str(tmp_path), mask_dir=None, test_mode=True)
    assert unlabelled.sample(0)["original_size"] == unlabelled.sample(1)["original_size"] == (3, 5)
