"""Files that are complete or absent (masks, lists of ids), and image sizes without decoding."""

import os
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
from PIL import Image

from jseg.datasets.masks import save_mask
from jseg.files import replacing

_PNG_START = b"\x89PNG\r\n\x1a\n"
_PNG_END = b"\0\0\0\0IEND\xaeB`\x82"


def unfinished(path: Path) -> AbstractContextManager[Path]:
    """`replacing` for files that can be recreated, so they are not flushed to disk.

    The hidden name is always the same, so that the next run overwrites the file that a killed one left
    behind.
    """
    return replacing(path, durable=False, temporary_name=f".{path.name}.part")


def write_label(path: Path, label: np.ndarray, palette: np.ndarray) -> None:
    """`save_mask` to a file that is complete or absent."""
    with unfinished(path) as temporary:
        save_mask(temporary, label, palette)


def is_complete_png(path: Path) -> bool:
    """Whether the file begins and ends like a PNG, which is fast enough for 100,000 files."""
    try:
        with path.open("rb") as file:
            start = file.read(len(_PNG_START))
            file.seek(-len(_PNG_END), os.SEEK_END)
            return start == _PNG_START and file.read() == _PNG_END
    except OSError:  # missing, or shorter than the end marker
        return False


def image_size(path: Path) -> tuple[int, int]:
    """Returns (H, W) of an image in pixels, read from its header.

    Raises:
        FileNotFoundError, ValueError: if the file is missing, or not an image.
    """
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: this image does not exist; unpack its archive again") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as problem:
        raise ValueError(
            f"{path}: the image cannot be read ({problem}); unpack its archive again"
        ) from problem


def write_list(path: Path, names: Iterable[str]) -> None:
    """Writes sorted ids, one per line. An existing list with the same ids is kept, since its order may
    matter.

    Raises:
        ValueError: if there is a list with other ids.
    """
    wanted = sorted(names)
    if path.is_file():
        found = path.read_text(encoding="utf-8").split()
        if sorted(found) == wanted:
            return
        difference = set(found) ^ set(wanted)
        raise ValueError(
            f"{path}: this list exists, but differs from that of the archives (by "
            f"{len(difference)} ids, e.g. '{min(difference)}'); rename or remove it and run this again"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with unfinished(path) as temporary:
        temporary.write_text("".join(f"{name}\n" for name in wanted), encoding="utf-8")
