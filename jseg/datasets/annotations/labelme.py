"""Labelme JSON, one file for each image (github.com/wkentaro/labelme).

Regions are drawn with Labelme's own rule for pixels on the border, so that the masks are those of its
`shapes_to_label`. A file without its image is used with the copy of the image that Labelme stores inside.
"""

import base64
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from jseg.datasets.annotations.core import (
    ImageFinder,
    Options,
    RegionImage,
    Source,
    part_of_path,
    read_json,
    root_and_finder,
    word_of,
)
from jseg.datasets.annotations.peek import holds_keys, json_files, some
from jseg.datasets.annotations.polygons import Size
from jseg.datasets.annotations.regions import (
    Region,
    Unfit,
    pasted,
    points,
)

_KEYS = ("shapes", "imagePath|imageHeight")


@dataclass(frozen=True, eq=False, kw_only=True)
class MaskRegion(Region):
    """A mask made by Labelme's AI tools: a PNG file in base64, and the position of its upper left corner."""

    data: str
    left: int
    top: int

    def mask(self, size: Size) -> np.ndarray:
        """See `Region.mask`."""
        with Image.open(io.BytesIO(base64.b64decode(self.data))) as patch:
            return pasted(np.asarray(patch.convert("L")) > 0, self.left, self.top, size)


@dataclass(frozen=True, eq=False, kw_only=True)
class OutlinedRegion(Region):
    """A polygon, or a circle given by two corners of its box, outline included, as Pillow draws it."""

    corners: np.ndarray
    circle: bool = False

    def mask(self, size: Size) -> np.ndarray:
        """See `Region.mask`."""
        canvas = Image.new("L", (size[1], size[0]))
        draw = ImageDraw.Draw(canvas)
        corners = [(x, y) for x, y in self.corners.tolist()]
        (draw.ellipse if self.circle else draw.polygon)(corners, outline=1, fill=1)
        return np.asarray(canvas, bool)


def recognise(path: Path) -> bool:
    """Whether a path is, or contains, a file of Labelme."""
    return any(holds_keys(file, _KEYS) for file in some(json_files(path)))


def read(path: Path, options: Options) -> Source:
    """Reads a file, or all Labelme files of a folder and its subfolders.

    Raises:
        FileNotFoundError, ValueError: if there is no such file, or it does not have this format.
    """
    source = Source(overlap="later")
    root, finder = root_and_finder(path, options)
    for file in json_files(path):
        if not path.is_dir() or holds_keys(file, _KEYS):
            with source.listing(file, "the file"):
                source.images.append(_read_file(file, root, finder, source))
    source.add_used_words()
    return source


def _read_file(file: Path, root: Path, finder: ImageFinder, source: Source) -> RegionImage:
    content = read_json(file)
    name = str(content["imagePath"]).replace("\\", "/")
    data = content.get("imageData")
    try:
        image, stored = finder.find(name, file.parent), None
    except Unfit:
        if not data:
            raise
        image, stored = None, base64.b64decode(data)
    declared = content.get("imageHeight"), content.get("imageWidth")
    regions = []
    for number, shape in enumerate(content["shapes"], 1):
        with source.listing(file, f"shape {number}"):
            regions.append(_region(shape))
    return RegionImage(
        source=file,
        # The folder of the file, since two folders may have an image of the same name.
        name=str(file.relative_to(root).with_name(Path(name).name)),
        image=image,
        content=stored,
        part=part_of_path(file, root),
        regions=tuple(regions),
        declared=None if None in declared else (int(declared[0]), int(declared[1])),
    )


def _region(shape: Mapping[str, Any]) -> Region:
    word, corners = word_of(shape["label"]), shape["points"]
    kind = shape.get("shape_type") or "polygon"
    if kind == "mask":
        left, top = (round(float(value)) for value in corners[0])
        return MaskRegion(word=word, data=shape["mask"], left=left, top=top)
    if kind == "circle":
        (x, y), (edge_x, edge_y) = corners
        radius = math.hypot(edge_x - x, edge_y - y)
        box = np.array([(x - radius, y - radius), (x + radius, y + radius)])
        return OutlinedRegion(word=word, corners=box, circle=True)
    if kind == "rectangle":
        (x0, y0), (x1, y1) = corners
        corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
    elif kind not in ("polygon", "oriented_rectangle"):
        raise Unfit(f"({word}) a {kind} has no area")
    return OutlinedRegion(word=word, corners=points(corners))
