"""CVAT for images 1.1, `annotations.xml`: polygons, masks, rectangles and ellipses.

CVAT's order of layers (z_order) is kept. Polygons are drawn by COCO's rule, as in CVAT's export of masks.
"""

import xml.etree.ElementTree as ElementTree
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jseg.datasets.annotations.core import (
    ImageFinder,
    Options,
    RegionImage,
    Source,
    part_of,
    root_and_finder,
    word_of,
)
from jseg.datasets.annotations.peek import files_below
from jseg.datasets.annotations.polygons import Size, require_pycocotools
from jseg.datasets.annotations.regions import (
    EllipseRegion,
    PolygonRegion,
    Region,
    Unfit,
    pasted,
    points,
    rectangle,
)
from jseg.datasets.annotations.rle import mask_of_runs

_HEAD = 1 << 12  # bytes


@dataclass(frozen=True, eq=False, kw_only=True)
class MaskRegion(Region):
    """A mask in its bounding box: run lengths row by row, beginning with zeros."""

    runs: tuple[int, ...]
    left: int
    top: int
    shape: Size

    def mask(self, size: Size) -> np.ndarray:
        """See `Region.mask`."""
        if min(self.runs, default=-1) < 0 or sum(self.runs) != self.shape[0] * self.shape[1]:
            raise Unfit("its run lengths do not fill its box")
        return pasted(mask_of_runs(np.array(self.runs)).reshape(self.shape), self.left, self.top, size)


def recognise(path: Path) -> bool:
    """Whether a path is, or contains, a file of CVAT annotations."""
    return any(_is_cvat(file) for file in files_below(path, ".xml"))


def read(path: Path, options: Options) -> Source:
    """Reads a file, or all CVAT files of a folder and its subfolders.

    Raises:
        FileNotFoundError, ValueError: if there is no such file, or it does not have this format.
    """
    require_pycocotools()
    source = Source(overlap="later")
    _, finder = root_and_finder(path, options)
    for file in files_below(path, ".xml"):
        if not path.is_dir() or _is_cvat(file):
            _read_file(file, finder, source)
    source.add_used_words()
    return source


def _is_cvat(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            return b"<annotations>" in stream.read(_HEAD)
    except OSError:
        return False


def _read_file(file: Path, finder: ImageFinder, source: Source) -> None:
    try:
        root = ElementTree.parse(file).getroot()
    except (ElementTree.ParseError, LookupError, ValueError) as problem:  # LookupError: of its encoding
        raise ValueError(f"{file}: not a valid XML file ({problem}); export it again") from None
    source.add_words(
        [word for label in root.iter("label") if (word := (label.findtext("name") or "").strip())]
    )
    for track in root.iter("track"):
        with source.listing(file, f"track {track.get('id')}"):
            raise Unfit("it belongs to a video; export the task as 'CVAT for images'")
    for image in root.iter("image"):
        with source.listing(file, f"image {image.get('name')}"):
            source.images.append(_read_image(file, image, finder, source))


def _read_image(file: Path, image: ElementTree.Element, finder: ImageFinder, source: Source) -> RegionImage:
    name = image.attrib["name"]
    regions = []
    for number, shape in enumerate(image, 1):
        if shape.tag != "tag":  # a word for the whole image
            with source.listing(file, f"shape {number} of image {name}"):
                regions.append(_region(shape))
    part = image.get("subset")
    return RegionImage(
        source=file,
        name=name,
        image=finder.find(name, file.parent),
        part=part_of(part) if part else part_of(file.stem),
        regions=tuple(regions),
        declared=(int(image.attrib["height"]), int(image.attrib["width"])),
    )


def _region(shape: ElementTree.Element) -> Region:
    fields = shape.attrib
    word, layer = word_of(fields.get("label")), int(fields.get("z_order", 0))
    if shape.tag == "mask":
        return MaskRegion(
            word=word,
            layer=layer,
            runs=tuple(int(run) for run in fields["rle"].split(",")),
            left=int(fields["left"]),
            top=int(fields["top"]),
            shape=(int(fields["height"]), int(fields["width"])),
        )
    degrees = float(fields.get("rotation", 0))
    if shape.tag == "ellipse":
        centre, radii = ((float(fields[x]), float(fields[y])) for x, y in (("cx", "cy"), ("rx", "ry")))
        return EllipseRegion(word=word, layer=layer, centre=centre, radii=radii, degrees=degrees)
    if shape.tag == "polygon":
        outline = points([pair.split(",") for pair in fields["points"].split(";")])
    elif shape.tag == "box":
        left, top, right, bottom = (float(fields[side]) for side in ("xtl", "ytl", "xbr", "ybr"))
        outline = rectangle(left, top, right, bottom, degrees)
    else:
        raise Unfit(f"({word}) a {shape.tag} has no area")
    return PolygonRegion(word=word, layer=layer, parts=(outline,))
