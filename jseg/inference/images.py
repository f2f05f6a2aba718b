"""Reads paths, Pillow images and arrays as RGB, and finds the images in folders and patterns."""

import glob
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from jseg.datasets.files import IMAGE_SUFFIXES
from jseg.datasets.masks import open_image
from jseg.datasets.orientation import upright
from jseg.files import PathLike
from jseg.names import natural

ImageLike = PathLike | Image.Image | np.ndarray

MAX_PIXELS = 200_000_000
"""Larger images are refused, since they would need unbounded memory."""

_HOW = "check the path; JPEG and PNG files, among others, can be read"


def read_rgb(image: ImageLike, max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Returns an image as RGB uint8 (H, W, 3), rotated as given by its orientation tag.

    Args:
        image: a file, a Pillow image of any mode, or a uint8 array: (H, W) greyscale, (H, W, 3) RGB or
            (H, W, 4) RGBA, whose transparency is dropped.
        max_pixels: limit of H x W.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if it is not an image, damaged or too large, or an array has another type or shape.
    """
    if isinstance(image, np.ndarray):
        pixels = _from_array(image)
    elif isinstance(image, Image.Image):
        _check_size(image.height, image.width, max_pixels, "the image")
        pixels = np.array(upright(image).convert("RGB"))
    else:
        path = Path(os.fspath(image)).expanduser()
        if path.is_dir():
            raise ValueError(f"{path} is a folder; give an image in it, or segment its images with `stream`")
        pixels = np.array(open_image(path, fix=_HOW))
    _check_size(pixels.shape[0], pixels.shape[1], max_pixels, _name(image))
    return pixels


def _from_array(image: np.ndarray) -> np.ndarray:
    if image.dtype != np.uint8:
        raise ValueError(
            f"the image is an array of type {image.dtype}, but must have uint8 values from 0 to 255; for "
            "floating-point values from 0 to 1 pass (255 * image).round().astype('uint8')"
        )
    if image.ndim == 2 or (image.ndim == 3 and image.shape[2] == 1):
        return np.repeat(image.reshape(*image.shape[:2], 1), 3, axis=2)
    if image.ndim != 3 or image.shape[2] not in (3, 4) or not image.size:
        raise ValueError(
            f"the image is an array of shape {image.shape}; use (H, W) grey, (H, W, 3) RGB or (H, W, 4) RGBA"
        )
    return np.ascontiguousarray(image[..., :3])


def _check_size(height: int, width: int, limit: int, name: str) -> None:
    if height * width > limit:
        raise ValueError(
            f"{name} has {width}x{height} pixels, more than the limit of {limit:,}; make it smaller, or "
            "raise max_pixels"
        )


def _name(image: ImageLike) -> str:
    return "the image" if isinstance(image, (np.ndarray, Image.Image)) else os.fspath(image)


def expand(inputs: ImageLike | Iterable[ImageLike]) -> Iterator[ImageLike]:
    """Yields the images of files, folders, patterns (`photos/*.jpg`), Pillow images and arrays, in order.

    A folder yields its images without those of subfolders. Images of a folder or a pattern are sorted by
    name, with numbers compared by value (frame2 before frame10).

    Raises:
        FileNotFoundError: if a file is missing, or nothing matches a pattern. ValueError: if a folder has no
            images.
    """
    for item in [inputs] if isinstance(inputs, (str, os.PathLike, np.ndarray, Image.Image)) else inputs:
        if isinstance(item, (np.ndarray, Image.Image)):
            yield item
        else:
            yield from _files(os.fspath(item))


def _order(path: Path) -> tuple[list[object], str]:
    return natural(str(path)), str(path)  # the text itself where 01 and 1 are equal


def _files(name: str) -> list[Path]:
    path = Path(name).expanduser()
    if path.is_dir():
        found = sorted(
            (
                file
                for file in path.iterdir()
                if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")
            ),
            key=_order,
        )
        if not found:
            raise ValueError(f"{path}: there are no images in this folder ({', '.join(IMAGE_SUFFIXES)})")
        return found
    if not path.exists() and any(sign in name for sign in "*?["):
        matches = sorted(map(Path, glob.glob(str(path), recursive=True)), key=_order)  # noqa: PTH207 (~, **)
        if not matches:
            raise FileNotFoundError(f"{name}: no file matches this pattern; check the path")
        return matches
    if not path.exists():
        raise FileNotFoundError(f"{name}: there is no such image; check the path")
    return [path]
