"""Images of more than 8 bits a sample, and files of several images, through the one reader."""

import struct

import numpy as np
import pytest
from PIL import Image

from jseg.datasets import read_image, read_mask
from jseg.datasets.clip_image import read_clip_image

GREY = np.arange(48, dtype=np.uint8).reshape(6, 8) * 5  # 0..235


def grey_of(path) -> np.ndarray:
    image = read_image(path)
    assert image.dtype == np.uint8 and (image == image[..., :1]).all()
    return image[..., 0]


def write_tiff(path, array, sample_format=1, photometric=1, bits=None, data=None):
    """An uncompressed little-endian TIFF of one strip, tag by tag, where Pillow cannot write it."""
    data = array.astype(array.dtype.newbyteorder("<")).tobytes() if data is None else data
    bits = bits or array.dtype.itemsize * 8
    tags = [
        (256, 4, array.shape[1]),
        (257, 4, array.shape[0]),
        (258, 3, bits),
        (259, 3, 1),
        (262, 3, photometric),
        (273, 4, 8 + 2 + 12 * 10 + 4),
        (277, 3, 1),
        (278, 4, array.shape[0]),
        (279, 4, len(data)),
        (339, 3, sample_format),
    ]
    entries = b"".join(
        struct.pack("<HHI", tag, kind, 1) + struct.pack("<I" if kind == 4 else "<Hxx", value)
        for tag, kind, value in tags
    )
    path.write_bytes(
        b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + entries + bytes(4) + data
    )


@pytest.mark.parametrize("suffix", ["png", "tiff", "pgm"])
def test_sixteen_bits_read_like_eight(tmp_path, suffix):
    """They used to become white: values above 255 were clipped, so a 16-bit image was segmented as white."""
    path = tmp_path / f"deep.{suffix}"
    Image.fromarray(GREY.astype(np.uint16) * 257).save(path)
    assert (grey_of(path) == GREY).all()
    plain = tmp_path / "plain.png"
    Image.fromarray(GREY).save(plain)
    assert (read_clip_image(path, 4) == read_clip_image(plain, 4)).all()


def test_sixteen_bits_are_rounded_over_their_whole_range(tmp_path):
    path = tmp_path / "deep.png"
    Image.fromarray(np.array([[0, 128, 129, 32768, 65279, 65535]], np.uint16)).save(path)
    # 128 / 257 = 0.498, 129 / 257 = 0.502, 32768 / 257 = 127.502, 65279 / 257 = 254.004
    assert grey_of(path).tolist() == [[0, 0, 1, 128, 254, 255]]


def test_ascii_and_odd_maxima_of_pgm(tmp_path):
    path = tmp_path / "deep.pgm"
    path.write_text("P2\n4 1\n1000\n0 250 500 1000\n")
    assert grey_of(path).tolist() == [[0, 64, 128, 255]]  # 63.75, 127.5
    path.write_bytes(b"P6\n2 1\n65535\n" + struct.pack(">6H", 0, 257, 65535, 25700, 65535, 0))
    assert read_image(path).tolist() == [[[0, 1, 255], [100, 255, 0]]]


def test_integers_of_a_tiff(tmp_path):
    path = tmp_path / "deep.tiff"
    write_tiff(path, np.array([[0, 2**31, 2**32 - 1]], np.uint32))
    assert grey_of(path).tolist() == [[0, 128, 255]]
    write_tiff(path, np.array([[0, 2**30, 2**31 - 1]], np.int32), sample_format=2)
    assert grey_of(path).tolist() == [[0, 128, 255]]
    write_tiff(path, np.array([[0, 2**14, 2**15 - 1]], np.int16), sample_format=2)
    assert grey_of(path).tolist() == [[0, 128, 255]]
    write_tiff(path, np.zeros((1, 2)), bits=12, data=bytes([0xFF, 0xF8, 0x00]))  # 4095, 2048
    assert grey_of(path).tolist() == [[255, 128]]
    write_tiff(path, np.array([[0, 25700, 65535]], np.uint16), photometric=0)  # white is zero
    assert grey_of(path).tolist() == [[255, 155, 0]]
    with pytest.raises(ValueError, match=r"deep\.tiff.*negative.*-5"):
        write_tiff(path, np.array([[-5, 7]], np.int16), sample_format=2)
        read_image(path)
    with pytest.raises(ValueError, match=r"deep\.tiff.*65535.*black"):  # 16-bit values kept in 32
        write_tiff(path, np.array([[0, 65535]], np.int32), sample_format=2)
        read_image(path)
    write_tiff(path, np.zeros((2, 2), np.uint32))
    assert not grey_of(path).any()


@pytest.mark.parametrize("suffix", ["tiff", "pfm"])
def test_floating_point(tmp_path, suffix):
    """They used to be truncated to 0 and 1 of 255, which is black."""
    path = tmp_path / f"deep.{suffix}"
    Image.fromarray(np.array([[0, 0.25, 0.5, 1]], np.float32)).save(path)
    assert grey_of(path).tolist() == [[0, 64, 128, 255]]
    for wrong in (-0.1, 1.1, 200.0, np.nan, np.inf):
        Image.fromarray(np.array([[0, wrong]], np.float32)).save(path)
        with pytest.raises(ValueError, match=rf"deep\.{suffix}.*0 \(black\) to 1 \(white\)"):
            read_image(path)


def test_orientation_of_a_deep_image(tmp_path):
    path = tmp_path / "deep.png"
    exif = Image.Exif()
    exif[274] = 6
    Image.fromarray(GREY.astype(np.uint16) * 257).save(path, exif=exif)
    assert (grey_of(path) == np.rot90(GREY, -1)).all()


def test_cmyk_and_transparent_values(tmp_path):
    path = tmp_path / "image.jpg"
    Image.new("CMYK", (4, 3), (255, 0, 0, 0)).save(path)
    assert np.abs(read_image(path).astype(int) - (0, 255, 255)).max() <= 2
    path = tmp_path / "image.png"
    Image.fromarray(GREY.astype(np.uint16) * 257).save(path, transparency=257 * 5)
    assert (grey_of(path) == GREY).all()


@pytest.mark.parametrize("suffix", ["png", "gif", "tiff", "webp"])
def test_several_images_in_a_file(tmp_path, suffix):
    path = tmp_path / f"moving.{suffix}"
    frames = [Image.fromarray(np.full((6, 8), value, np.uint8)) for value in (10, 90, 200)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    with pytest.raises(ValueError, match=rf"moving\.{suffix}.*3 images"):
        read_image(path)
    if suffix in ("png", "gif"):
        with pytest.raises(ValueError, match="3 images"):
            read_mask(path)


def test_the_preview_of_a_camera_is_no_animation(tmp_path):
    path = tmp_path / "photo.jpg"
    photo, preview = Image.new("RGB", (16, 12), (200, 0, 0)), Image.new("RGB", (4, 3), (0, 0, 200))
    photo.save(path, format="MPO", save_all=True, append_images=[preview])
    assert read_image(path).shape == (12, 16, 3) and read_image(path)[5, 5, 0] > 150
