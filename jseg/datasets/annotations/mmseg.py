"""Folders of mmsegmentation: `img_dir/train`, `ann_dir/train` and so on, masks of class numbers.

The class words are in a text file, one per line: `classes.txt` in the folder, or the file of `--classes`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jseg.datasets.annotations.core import AnnotatedImage, ImageFinder, Options, Source, part_of_path
from jseg.datasets.annotations.drawing import UNNAMED, Drawn
from jseg.datasets.annotations.pairing import mask_files, mask_size, paired_images
from jseg.datasets.annotations.polygons import Size
from jseg.datasets.masks import read_mask
from jseg.datasets.words import read_words
from jseg.labels import IGNORE_INDEX
from jseg.names import shortened

CLASSES = "classes.txt"
_FOLDERS = (("img_dir", "ann_dir"), ("images", "annotations"), ("images", "masks"), ("images", "labels"))


@dataclass(frozen=True, eq=False, kw_only=True)
class NumberImage(AnnotatedImage):
    """An image with a mask of class numbers. The first of `words` has the value `first`, and so on."""

    words: tuple[str, ...]
    first: int

    def size(self) -> Size:
        """See `AnnotatedImage.size`."""
        return mask_size(self.source)

    def draw(self, codes: Mapping[str, int], size: Size, overlap: str) -> Drawn:
        """See `AnnotatedImage.draw`; nothing overlaps in a mask."""
        values = read_mask(self.source)
        table = np.full(256, IGNORE_INDEX, np.uint8)
        table[: self.first] = UNNAMED
        for value, word in enumerate(self.words, self.first):
            table[value] = codes.get(word, IGNORE_INDEX)
        counts = np.bincount(values.reshape(-1), minlength=256)
        limit = self.first + len(self.words)
        outside = np.flatnonzero(counts[limit:IGNORE_INDEX]) + limit
        problems = []
        if outside.size:
            names = shortened((f"{value} on {counts[value]} pixels" for value in outside), limit=3)
            problems.append(f"values without a class word, which are ignored: {names}")
        return Drawn(table[values], 0, problems)


def recognise(path: Path) -> bool:
    """Whether a folder has the folders of mmsegmentation. Those with `masks` or `labels` may be of others."""
    return any((path / images).is_dir() and any(mask_files(path / masks)) for images, masks in _FOLDERS[:2])


def read(path: Path, options: Options) -> Source:
    """Reads the masks of a folder.

    Raises:
        FileNotFoundError, ValueError: if masks, images or class words are missing.
    """
    folders = next((pair for pair in _FOLDERS if all((path / name).is_dir() for name in pair)), None)
    if folders is None:
        raise FileNotFoundError(
            f"{path}: there are no folders img_dir and ann_dir; give the folder that contains both"
        )
    words = options.classes
    if words is None:
        if not (path / CLASSES).is_file():
            raise FileNotFoundError(
                f"{path / CLASSES}: this file is missing; write the class words in the order of the mask "
                "values, one per line, or give such a file with --classes"
            )
        words = read_words(path / CLASSES)
    source = Source(overlap="later")
    source.add_words(words)
    root = path / folders[1]
    masks = mask_files(root, options.mask_ending)
    for mask, image in paired_images(
        masks, ImageFinder([options.images or path / folders[0]]), options, source
    ):
        stem = mask.stem.removesuffix(options.mask_ending)
        source.images.append(
            NumberImage(
                source=mask,
                name=str(mask.relative_to(root).with_name(f"{stem}.png")),
                image=image,
                part=part_of_path(mask, root),
                words=tuple(words),
                first=int(options.reduce_zero_label),
            )
        )
    return source
