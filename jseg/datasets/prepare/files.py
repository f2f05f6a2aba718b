"""Files that are complete or absent: masks, lists of ids, and
what is asked of images without reading them."""

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
    """`replacing` for files that can be made again: they are not flushed to the disk.

    The hidden name is always the same, so that the next run overwrites what a killed one leaves behind.
    """
    return replacing(path, durable=False, temporary_name=f".{path.name}.part")


def write_label(path: Path, label: np.ndarray, palette: np.ndarray) -> None:
    """`save_mask`, complete or not at all."""
    with unfinished(path) as temporary:
        save_mask(temporary, label, palette)


def is_complete_png(path: Path) -> bool:
    """Whether the file has the first and the last bytes of a PNG: cheap enough to ask of 100,000 files."""
    try:
        with path.open("rb") as file:
            start = file.read(len(_PNG_START))
            file.seek(-len(_PNG_END), os.SEEK_END)
            return start == _PNG_START and file.read() == _PNG_END
    except OSError:  # absent, or shorter than the end mark
        return False


def image_size(path: Path) -> tuple[int, int]:
    """(H, W) of an image in pixels, from its header.

    Raises:
        FileNotFoundError, ValueError: no such file, or no image.
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
    """Writes sorted ids, one a line. A list that is there with the
    same ids stays: its order may matter to someone.

    Raises:
        ValueError: there is a list with other ids.
    """
    wanted = sorted(names)
    if path.is_file():
        found = path.read_text(encoding="utf-8").split()
        if sorted(found) == wanted:
            return
        difference = set(found) ^ set(wanted)
        raise ValueError(
            f"{path}: this list exists, but differs from the one that the archives give (by "
            f"{len(difference)} ids, e.g. '{min(difference)}'); rename or remove it and run this again"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    with unfinished(path) as temporary:
        temporary.write_text("".join(f"{name}\n" for name in wanted), encoding="utf-8")
