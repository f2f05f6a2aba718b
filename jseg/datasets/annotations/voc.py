"""Colour masks with a label map in the folders of VOC, such as CVAT's export 'Segmentation mask 1.1'.

    SegmentationClass/*.png   RGB or palette; the colour determines the class
    labelmap.txt              one line per class: `name:red,green,blue:parts:actions`
    JPEGImages/               the images
    ImageSets/Segmentation/   optional: train.txt, val.txt

Without a label map, palette masks have the colours and names of VOC. VOC's beige is ignored. Colours that are
missing in the label map are ignored and listed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from jseg.datasets.annotations.core import (
    AnnotatedImage,
    ImageFinder,
    Options,
    Source,
    part_of_path,
)
from jseg.datasets.annotations.drawing import UNNAMED, Drawn
from jseg.datasets.annotations.pairing import REPLACE, mask_files, mask_size, paired_images
from jseg.datasets.annotations.polygons import Size
from jseg.datasets.annotations.regions import Unfit
from jseg.datasets.classes import load_class_list
from jseg.datasets.masks import VOID_COLOUR, readable
from jseg.datasets.words import read_words
from jseg.labels import IGNORE_INDEX
from jseg.names import shortened

LABEL_MAP = "labelmap.txt"
_MASKS = ("SegmentationClass", "masks", "labels", ".")
_IMAGES = ("JPEGImages", "images", ".")
_LISTS = "ImageSets/Segmentation"
_COLOURS = ("RGB", "RGBA", "P")
_SHOWN = 3  # colours in a message

Colour = tuple[int, int, int]


@dataclass(frozen=True, eq=False, kw_only=True)
class ColourImage(AnnotatedImage):
    """An image with a colour mask. `colours`: colour -> word."""

    colours: Mapping[Colour, str]

    def size(self) -> Size:
        """See `AnnotatedImage.size`."""
        return mask_size(self.source)

    def draw(self, codes: Mapping[str, int], size: Size, overlap: str) -> Drawn:
        """See `AnnotatedImage.draw`; nothing overlaps in a mask."""
        with readable(self.source, "mask", REPLACE), Image.open(self.source) as mask:
            pixels = np.asarray(mask.convert("RGB")).astype(np.int32) @ [1 << 16, 1 << 8, 1]
        table = {(0, 0, 0): UNNAMED, VOID_COLOUR: IGNORE_INDEX}
        table.update({colour: codes.get(word, IGNORE_INDEX) for colour, word in self.colours.items()})
        keys = np.array(sorted(_number(colour) for colour in table))
        values = np.zeros(len(keys), np.uint8)
        for colour, code in table.items():
            values[np.searchsorted(keys, _number(colour))] = code
        place = np.minimum(np.searchsorted(keys, pixels), len(keys) - 1)
        unknown = keys[place] != pixels
        label = np.where(unknown, IGNORE_INDEX, values[place]).astype(np.uint8)
        return Drawn(label, 0, _unknown_colours(pixels[unknown]))


def recognise(path: Path) -> bool:
    """Whether a folder contains a label map or colour masks."""
    if not path.is_dir():
        return False
    if _label_map(path) is not None:
        return True
    folder = next((path / name for name in _MASKS[:-1] if (path / name).is_dir()), path)
    masks = mask_files(folder)
    return folder != path and bool(masks) and _mode(masks[0]) in ("RGB", "RGBA")


def read(path: Path, options: Options) -> Source:
    """Reads the masks of a folder.

    Raises:
        FileNotFoundError, ValueError: if masks, images or the label map are missing, or the map is not valid.
    """
    source = Source(overlap="later")
    found = _label_map(path)
    colours = _voc_colours() if found is None else read_label_map(found)
    source.add_words(list(colours.values()))
    folder = next(path / name for name in _MASKS if name == "." or (path / name).is_dir())
    images = options.images or next(path / name for name in _IMAGES if name == "." or (path / name).is_dir())
    parts = _parts(path / _LISTS)
    masks = mask_files(folder)
    for mask, image in paired_images(masks, ImageFinder([images]), options, source):
        with source.listing(mask, "the mask"):
            if (mode := _mode(mask)) not in _COLOURS or (found is None and mode != "P"):
                raise Unfit(_explanation(mode, path))
            stem = mask.stem.removesuffix(options.mask_ending)
            part = parts.get(stem, part_of_path(mask, folder))
            source.images.append(
                ColourImage(source=mask, name=f"{stem}.png", image=image, part=part, colours=colours)
            )
    return source


def read_label_map(path: Path) -> dict[Colour, str]:
    """Returns colour -> class of a `labelmap.txt`, in the order of the file.

    Raises:
        ValueError: if a line is not `name:red,green,blue`, or a colour has two names.
    """
    colours: dict[Colour, str] = {}
    for line in read_words(path, separators=""):
        if line.startswith("#"):
            continue
        name, _, rest = line.partition(":")
        try:
            red, green, blue = (int(value) for value in rest.split(":")[0].split(","))
            inside = min(red, green, blue) >= 0 and max(red, green, blue) <= 255
        except ValueError:
            inside = False
        if not inside or not name.strip():
            raise ValueError(f"{path}: the line '{line}' is no name:red,green,blue with values of 0..255")
        other = colours.setdefault((red, green, blue), name.strip())
        if other != name.strip():
            raise ValueError(f"{path}: {other} and {name.strip()} have the same colour; give each its own")
    return colours


def _label_map(path: Path) -> Path | None:
    return next((file for file in (path / LABEL_MAP, path.parent / LABEL_MAP) if file.is_file()), None)


def _voc_colours() -> dict[Colour, str]:
    classes = load_class_list("voc2012")
    return {_triple(colour): name for colour, name in zip(classes.palette, classes.names)}


def _parts(folder: Path) -> dict[str, str]:
    """Id -> part, from the lists train.txt, val.txt and test.txt."""
    parts = {}
    for part in ("test", "val", "train"):
        if (folder / f"{part}.txt").is_file() and (folder / f"{part}.txt").stat().st_size:
            parts.update(dict.fromkeys(read_words(folder / f"{part}.txt"), part))
    return parts


def _mode(mask: Path) -> str:
    try:
        with Image.open(mask) as opened:
            return opened.mode
    except OSError:
        return "unreadable"


def _explanation(mode: str, path: Path) -> str:
    if mode == "unreadable":
        return "it cannot be read"
    if mode in _COLOURS:
        return f"it has colours (mode {mode}), but {path / LABEL_MAP}, which lists their classes, is missing"
    return f"it has mode {mode}, not colours; use the format mmseg for masks of class numbers"


def _unknown_colours(pixels: np.ndarray) -> list[str]:
    if not pixels.size:
        return []
    values, counts = np.unique(pixels, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    names = [f"{value >> 16},{value >> 8 & 255},{value & 255}" for value in values[order].tolist()]
    shown = shortened((f"{name} on {count}" for name, count in zip(names, counts[order])), limit=_SHOWN)
    return [f"{pixels.size} pixels have colours that are missing in the label map, and are ignored: {shown}"]


def _number(colour: Iterable[int]) -> int:
    red, green, blue = colour
    return red << 16 | green << 8 | blue


def _triple(colour: np.ndarray) -> Colour:
    red, green, blue = (int(value) for value in colour)
    return red, green, blue
