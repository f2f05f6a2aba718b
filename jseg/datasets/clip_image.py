"""Preprocessing of OpenAI's CLIP for whole images: bicubic resize, centre crop, CLIP's mean and std.

The results are those of `clip/clip.py: _transform` with torchvision on Pillow images: the short side becomes
the resolution, the long side is rounded down, and the crop starts at half of the remainder, rounded.
"""

import os

import numpy as np
from PIL import Image

from jseg.datasets.masks import open_image
from jseg.datasets.transforms import CLIP_MEAN, CLIP_STD
from jseg.files import PathLike

MAX_ASPECT = 100
"""Longer images are refused: resizing them by the short side would need unbounded memory."""


def clip_preprocess(image: Image.Image, resolution: int) -> np.ndarray:
    """Preprocesses an image for CLIP.

    Palettes and transparency are converted to RGB first, since resizing a palette would mix its indices.

    Args:
        image: image of any mode.
        resolution: side length R in pixels.

    Returns:
        (3, R, R) float32, RGB, normalised.

    Raises:
        ValueError: if the image is more than `MAX_ASPECT` times as long as wide.
    """
    image = image.convert("RGB")
    short, long = min(image.size), max(image.size)
    if long > MAX_ASPECT * short:
        raise ValueError(
            f"the image is {image.width}x{image.height} pixels, more than {MAX_ASPECT} times as long "
            "as wide; crop it"
        )
    width, height = (resolution if side == short else int(resolution * side / short) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = round((width - resolution) / 2), round((height - resolution) / 2)
    pixels = np.asarray(image.crop((left, top, left + resolution, top + resolution)), np.float32)
    normalised = (pixels - np.asarray(CLIP_MEAN, np.float32)) / np.asarray(CLIP_STD, np.float32)
    return np.ascontiguousarray(normalised.transpose(2, 0, 1))


def read_clip_image(path: PathLike, resolution: int) -> np.ndarray:
    """`clip_preprocess` of an image file, oriented as by `read_image`.

    Raises:
        FileNotFoundError: if the file is missing. ValueError: if it is not an image, damaged, too large or
            too long.
    """
    photo = open_image(os.fspath(path), fix="check the path; PNG and JPEG files can be read")
    try:
        return clip_preprocess(photo, resolution)
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from error
