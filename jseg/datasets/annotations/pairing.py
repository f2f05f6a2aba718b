"""Masks that are image files, each paired with the image of the same name."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from jseg.datasets.annotations.core import ImageFinder, Options, Source

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


def paired_images(
    masks: Sequence[Path], finder: ImageFinder, options: Options, source: Source
) -> Iterator[tuple[Path, Path]]:
    """Yields each mask with its image. A mask without an image becomes a problem."""
    for mask in masks:
        with source.listing(mask, "the mask"):
            stem = mask.stem.removesuffix(options.mask_ending) + options.image_ending
            yield mask, finder.find_stem(stem, mask)
