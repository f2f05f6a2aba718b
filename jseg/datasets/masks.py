"""Reading pictures and label masks, and writing palette masks.

Masks are single-channel pictures whose *pixel values* are class numbers: palette PNG (as VOC publishes them,
where the colours are only for the eye) or 8-bit grey PNG. Colours are never turned into classes.
"""

import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageFile

from jseg.datasets.classes import voc_palette
from jseg.datasets.depth import Unsuitable, eight_bits, refuse_animation
from jseg.datasets.orientation import upright
from jseg.labels import IGNORE_INDEX

_IN_SPLIT = "replace the file or remove its id from the split"
VOID_COLOUR = (224, 224, 192)  # the colour VOC gives to index 255
# What Pillow raises for damaged files, depending on the format and on where the damage is.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, Image.DecompressionBombError)


def read_image(path: str | Path, mask_size: tuple[int, int] | None = None) -> np.ndarray:
    """The picture as RGB uint8 (H, W, 3), upright: an orientation tag of the camera is obeyed.

    Grey of more than 8 bits is scaled by its full range, as `jseg.datasets.depth` says; palettes and CMYK are
    converted, and transparency is dropped.

    Args:
        mask_size: (H, W) of its mask; where only the picture as it is stored has this size, the tag is not
            obeyed.

    Raises:
        FileNotFoundError: if it is missing.
        ValueError: if it cannot be decoded completely, holds several images, or values without a meaning.
    """
    return np.array(open_picture(path, mask_size))


def open_picture(
    path: str | Path | BinaryIO, mask_size: tuple[int, int] | None = None, mend: str = _IN_SPLIT
) -> Image.Image:
    """`read_image` as a Pillow picture of mode RGB; `mend` ends
    the message about a file that cannot be read."""
    picture = _open(path, "picture", mend)
    return upright(picture, mask_size).convert("RGB")


def read_mask(path: str | Path) -> np.ndarray:
    """The pixel values of a palette or 8-bit grey mask, uint8 (H, W).

    Raises:
        FileNotFoundError: if it is missing.
        ValueError: if it cannot be decoded, holds colours or alpha, or has another bit depth.
    """
    picture = _open(path, "mask", _IN_SPLIT, keep_depth=True)
    return np.array(picture, np.uint8)


def save_mask(path: str | Path, label: np.ndarray, palette: np.ndarray | Sequence) -> None:
    """Write `label` (H, W), integers 0..255, as a palette PNG whose pixel values are the labels.

    Args:
        path: file to write; the folder must exist.
        label: class numbers, 255 for ignored pixels. They are written as they are.
        palette: RGB (n, 3), colour of the first n values; the VOC colour map continues it, 255 is beige.

    Raises:
        ValueError: if `label` is not 2-D or does not fit into 8 bits.
    """
    label = np.asarray(label)
    if label.ndim != 2 or (label.size and (label.min() < 0 or label.max() > 255)):
        raise ValueError(f"{path}: a mask must be (H, W) with values 0..255, not shape {label.shape}")
    colours = voc_palette(256)
    colours[IGNORE_INDEX] = VOID_COLOUR
    palette = np.asarray(palette, np.uint8).reshape(-1, 3)
    colours[: len(palette)] = palette
    picture = Image.fromarray(np.ascontiguousarray(label, dtype=np.uint8), mode="P")
    picture.putpalette(colours.tobytes())
    picture.save(path, format="PNG")


def check_labels(mask: np.ndarray, num_classes: int, reduce_zero_label: bool, path: str | Path) -> np.ndarray:
    """Training labels uint8 (H, W) from mask values; 255 stays 255.

    With `reduce_zero_label` the value 0 becomes 255 and k becomes k-1.

    Raises:
        ValueError: naming `path` and the first value that no class has.
    """
    counts = np.bincount(mask.reshape(-1), minlength=256)
    limit = num_classes + int(reduce_zero_label)
    wrong = np.flatnonzero(counts[limit:IGNORE_INDEX]) + limit
    if wrong.size:
        first = int(wrong[0])
        raise ValueError(
            f"{path}: label {first} on {int(counts[first])} pixels is outside the class list, which allows "
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
    """Checks that a mask (H, W) has the size (H, W) of its picture.

    Raises:
        ValueError: naming both files and both sizes.
    """
    if mask.shape != tuple(image_size):
        raise ValueError(
            f"{mask_path}: the mask is {mask.shape[1]}x{mask.shape[0]} pixels but its picture "
            f"{image_path} is {image_size[1]}x{image_size[0]} (width x height); replace the wrong one"
        )


def _open(path: str | Path | BinaryIO, kind: str, mend: str, keep_depth: bool = False) -> Image.Image:
    try:
        with Image.open(path) as picture:
            refuse_animation(picture)
            if keep_depth:
                _refuse_colours(picture)
            picture.load()
            return (picture if keep_depth else eight_bits(picture)).copy()
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: this {kind} does not exist; {mend}") from None
    except Unsuitable as problem:
        raise ValueError(f"{path}: the {kind} {problem}") from None
    except _DAMAGE as problem:
        raise ValueError(f"{path}: the {kind} cannot be read ({_reason(problem)}); {mend}") from problem


def _reason(problem: BaseException) -> str:
    if isinstance(problem, Image.UnidentifiedImageError):
        return "not a known picture format"
    return str(problem) or type(problem).__name__


def _refuse_colours(picture: ImageFile.ImageFile) -> None:
    if picture.mode not in ("P", "L"):
        raise Unsuitable(
            f"is stored in mode {picture.mode}, but class numbers are needed, one byte a pixel; convert it "
            "to a palette (P) or 8-bit grey (L) PNG whose values are the class numbers (for colours "
            "with a label map: jseg annotations voc)"
        )
    # Pillow stretches grey of fewer bits to 0..255, so that class 1 would arrive as 17 or 85.
    tile = picture.tile[0] if picture.tile else None
    if picture.mode == "L" and tile and isinstance(tile[3], str) and tile[3].startswith("L;"):
        raise Unsuitable(
            f"is grey with fewer than 8 bits a pixel ({tile[3]}), whose values are not kept on reading; "
            "save it as an 8-bit grey or a palette PNG"
        )
