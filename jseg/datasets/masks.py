"""Reads images and label masks, and writes palette masks.

Masks are single-channel images whose *pixel values* are class indices: palette PNG (as published for VOC,
where the colours are only for display) or 8-bit greyscale PNG. Colours are never converted to classes.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageFile

from jseg.datasets.classes import voc_palette
from jseg.datasets.depth import Unsuitable, eight_bits, refuse_animation
from jseg.datasets.orientation import upright
from jseg.labels import IGNORE_INDEX

_IN_SPLIT = "replace the file or remove its id from the split"
VOID_COLOUR = (224, 224, 192)  # colour of index 255 in VOC
# Errors that Pillow raises for damaged files, depending on the format and the damage.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)


def read_image(path: str | Path, mask_size: tuple[int, int] | None = None) -> np.ndarray:
    """Returns the image as RGB uint8 (H, W, 3), rotated as given by its orientation tag.

    Greyscale of more than 8 bits is scaled by its full range, as in `jseg.datasets.depth`. Palettes and CMYK
    are converted, and transparency is dropped.

    Args:
        mask_size: (H, W) of its mask. If only the stored image has this size, the orientation tag is ignored.

    Raises:
        FileNotFoundError: if it is missing.
        ValueError: if it cannot be decoded completely, contains several images, or its values have no defined
            meaning.
    """
    return np.array(open_image(path, mask_size))


def open_image(
    path: str | Path | BinaryIO, mask_size: tuple[int, int] | None = None, fix: str = _IN_SPLIT
) -> Image.Image:
    """`read_image` as a Pillow image of mode RGB. `fix` ends the message about an unreadable file."""
    image = _open(path, "image", fix)
    return upright(image, mask_size).convert("RGB")


def read_mask(path: str | Path) -> np.ndarray:
    """Returns the pixel values of a palette or 8-bit greyscale mask, uint8 (H, W).

    Raises:
        FileNotFoundError: if it is missing.
        ValueError: if it cannot be decoded, contains colours or alpha, or has another bit depth.
    """
    image = _open(path, "mask", _IN_SPLIT, keep_depth=True)
    return np.array(image, np.uint8)


def save_mask(path: str | Path, label: np.ndarray, palette: np.ndarray | Sequence) -> None:
    """Writes `label` (H, W), integers 0..255, as a palette PNG whose pixel values are the labels.

    Args:
        path: file to write; the folder must exist.
        label: class indices, 255 for ignored pixels. They are written unchanged.
        palette: RGB (n, 3), colours of the first n values. The VOC colour map follows; 255 is beige.

    Raises:
        ValueError: if `label` is not 2-D or does not fit into 8 bits.
        OSError: if the file cannot be written. The message names it.
    """
    label = np.asarray(label)
    if label.ndim != 2 or (label.size and (label.min() < 0 or label.max() > 255)):
        raise ValueError(f"{path}: a mask must be (H, W) with values 0..255, not shape {label.shape}")
    colours = voc_palette(256)
    colours[IGNORE_INDEX] = VOID_COLOUR
    palette = np.asarray(palette, np.uint8).reshape(-1, 3)
    colours[: len(palette)] = palette
    image = Image.fromarray(np.ascontiguousarray(label, dtype=np.uint8), mode="P")
    image.putpalette(colours.tobytes())
    try:
        image.save(path, format="PNG")
    except OSError as error:
        reason = f"cannot write {path}: {error.strerror or error}; free space or choose another place"
        raise OSError(error.errno, reason) from error


def check_labels(mask: np.ndarray, num_classes: int, reduce_zero_label: bool, path: str | Path) -> np.ndarray:
    """Converts mask values to training labels, uint8 (H, W). 255 stays 255.

    With `reduce_zero_label`, 0 becomes 255 and k becomes k-1.

    Raises:
        ValueError: if a value belongs to no class. The message names `path` and the first such value.
    """
    counts = np.bincount(mask.reshape(-1), minlength=256)
    limit = num_classes + int(reduce_zero_label)
    wrong = np.flatnonzero(counts[limit:IGNORE_INDEX]) + limit
    if wrong.size:
        first = int(wrong[0])
        raise ValueError(
            f"{path}: label {first} on {int(counts[first])} pixels is not in the class list, which allows "
            f"0..{limit - 1} and {IGNORE_INDEX} ({num_classes} classes, "
            f"reduce_zero_label={reduce_zero_label}); correct the mask, or set classes / reduce_zero_label "
            "to match it"
        )
    if not reduce_zero_label:
        return mask.copy()
    table = np.arange(256) - 1
    table[[0, IGNORE_INDEX]] = IGNORE_INDEX
    return table.astype(np.uint8)[mask]


def check_size(
    mask: np.ndarray, image_size: tuple[int, int], mask_path: str | Path, image_path: str | Path
) -> None:
    """Checks that a mask (H, W) has the size (H, W) of its image.

    Raises:
        ValueError: if not. The message names both files and both sizes.
    """
    if mask.shape != tuple(image_size):
        raise ValueError(
            f"{mask_path}: the mask is {mask.shape[1]}x{mask.shape[0]} pixels but its image "
            f"{image_path} is {image_size[1]}x{image_size[0]} (width x height); replace the wrong one"
        )


@contextmanager
def readable(path: str | Path | BinaryIO, kind: str, fix: str) -> Iterator[None]:
    """Explains errors of Pillow.

    Args:
        kind: 'image' or 'mask', for the message, which ends with `fix`.

    Raises:
        FileNotFoundError, ValueError: instead of those errors.
    """
    try:
        yield
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: this {kind} does not exist; {fix}") from None
    except Unsuitable as problem:
        raise ValueError(f"{path}: the {kind} {problem}") from None
    except _DAMAGE as problem:
        raise ValueError(f"{path}: the {kind} cannot be read ({_reason(problem)}); {fix}") from problem


def _open(path: str | Path | BinaryIO, kind: str, fix: str, keep_depth: bool = False) -> Image.Image:
    with readable(path, kind, fix), Image.open(path) as image:
        refuse_animation(image)
        if keep_depth:
            _refuse_colours(image)
        image.load()
        return (image if keep_depth else eight_bits(image)).copy()


def _reason(problem: BaseException) -> str:
    if isinstance(problem, Image.UnidentifiedImageError):
        return "unknown image format"
    return str(problem) or type(problem).__name__


def _refuse_colours(image: ImageFile.ImageFile) -> None:
    if image.mode not in ("P", "L"):
        raise Unsuitable(
            f"is stored in mode {image.mode}, but must contain class indices, one byte per pixel; convert it "
            "to a palette (P) or 8-bit greyscale (L) PNG whose values are the class indices (for colours "
            "with a label map: jseg annotations voc)"
        )
    # Pillow scales greyscale of fewer bits to 0..255, so that class 1 would become 17 or 85.
    tile = image.tile[0] if image.tile else None
    if image.mode == "L" and tile and isinstance(tile[3], str) and tile[3].startswith("L;"):
        raise Unsuitable(
            f"is greyscale with fewer than 8 bits per pixel ({tile[3]}), and reading changes its values; "
            "save it as an 8-bit greyscale or palette PNG"
        )
