"""The preprocessing of OpenAI's CLIP for whole images: bicubic resize, centre crop, CLIP's mean and std.

The numbers are those of `clip/clip.py: _transform` with torchvision on Pillow images: the short side
becomes the resolution, the long side is rounded down, the crop starts at the rounded half of what is left.
"""

import os

import numpy as np
from PIL import Image

from jseg.datasets.masks import open_image
from jseg.datasets.transforms import CLIP_MEAN, CLIP_STD
from jseg.files import PathLike

MAX_ASPECT = 100
"""Longer images are refused: resized by the short side they would need memory without bound."""


def clip_preprocess(image: Image.Image, resolution: int) -> np.ndarray:
    """An image as CLIP wants it.

    Palettes and transparency are turned into RGB first: resizing a palette would mix its indices.

    Args:
        image: of any mode.
        resolution: R, side in pixels.

    Returns:
        (3, R, R) float32, RGB, normalised.

    Raises:
        ValueError: the image is more than `MAX_ASPECT` times as long as wide.
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
    """`clip_preprocess` of an image file, upright as `read_image` has it.

    Raises:
        FileNotFoundError: no such file. ValueError: not an image, damaged, too large or too long.
    """
    photo = open_image(os.fspath(path), fix="check the path; PNG and JPEG files can be read")
    try:
        return clip_preprocess(photo, resolution)
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)}: {error}") from error
