"""Masks that are image files, each paired with the image of the same name."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from jseg.datasets.annotations.core import ImageFinder, Options, Source
from jseg.datasets.annotations.polygons import Size
from jseg.datasets.masks import readable

REPLACE = "replace it, and run this again"
"""What to do about an image or a mask that cannot be read."""

_LOSSLESS = (".png", ".bmp", ".tif", ".tiff")  # JPEG changes values


def mask_files(folder: Path, ending: str = "") -> list[Path]:
    """Returns the masks in a folder and its subfolders whose stem has this ending, without hidden files."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in _LOSSLESS
        and path.stem.endswith(ending)
        and not path.name.startswith(".")
        and path.is_file()
    )


def mask_size(mask: Path) -> Size:
    """(H, W) of a mask.

    Raises:
        ValueError: it cannot be read.
    """
    with readable(mask, "mask", REPLACE), Image.open(mask) as opened:
        return opened.height, opened.width


def paired_images(
    masks: Sequence[Path], finder: ImageFinder, options: Options, source: Source
) -> Iterator[tuple[Path, Path]]:
    """Yields each mask with its image. A mask without an image becomes a problem."""
    for mask in masks:
        with source.listing(mask, "the mask"):
            stem = mask.stem.removesuffix(options.mask_ending) + options.image_ending
            yield mask, finder.find_stem(stem, mask)
