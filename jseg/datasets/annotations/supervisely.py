"""Projects of Supervisely: `meta.json`, and data sets with `img/` and `ann/NAME.json` (docs.supervisely.com).

Polygons are drawn with their outlines and without their holes; bitmaps as they are.
"""

import base64
import io
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jseg.datasets.annotations.core import (
    ImageFinder,
    Options,
    RegionImage,
    Source,
    part_of_path,
    read_json,
    word_of,
)
from jseg.datasets.annotations.peek import holds_keys, json_files, some
from jseg.datasets.annotations.polygons import Size
from jseg.datasets.annotations.regions import OutlinedRegion, Region, Unfit, pasted, points

META = "meta.json"
_KEYS = ("objects", "size")


@dataclass(frozen=True, eq=False, kw_only=True)
class BitmapRegion(Region):
    """A mask at its place: a PNG file, packed by zlib or not, in base64."""

    data: str
    left: int
    top: int

    def mask(self, size: Size) -> np.ndarray:
        """See `Region.mask`."""
        packed = base64.b64decode(self.data)
        with suppress(zlib.error):  # older files are not packed
            packed = zlib.decompress(packed)
        with Image.open(io.BytesIO(packed)) as patch:
            values = np.asarray(patch.getchannel("A") if "A" in patch.getbands() else patch)
        return pasted(values > 0, self.left, self.top, size)


def recognise(path: Path) -> bool:
    """Whether a folder is a project of Supervisely, or a file one of its annotations."""
    if path.is_dir():
        inside = [file for file in some(json_files(path)) if file.parent.name == "ann"]
        return bool(inside) and holds_keys(inside[0], _KEYS)
    return path.suffix.lower() == ".json" and holds_keys(path, _KEYS)


def read(path: Path, options: Options) -> Source:
    """Reads all data sets of a project.

    Raises:
        FileNotFoundError, ValueError: it is no project.
    """
    source = Source(overlap="later")
    meta = path / META
    if meta.is_file():
        with source.listing(meta, "the file"):
            source.add_words([word_of(entry["title"]) for entry in read_json(meta)["classes"]])
    for file in json_files(path):
        if file.parent.name == "ann":
            with source.listing(file, "the file"):
                source.images.append(_read_file(file, path, options, source))
    source.add_used_words()
    return source


def _read_file(file: Path, root: Path, options: Options, source: Source) -> RegionImage:
    content = read_json(file)
    folder = file.parent.parent
    name = file.name.removesuffix(".json")
    regions = []
    for number, entry in enumerate(content["objects"], 1):
        with source.listing(file, f"object {number}"):
            regions.append(_region(entry))
    return RegionImage(
        source=file,
        name=str(folder.relative_to(root) / name),
        image=ImageFinder([options.images] if options.images else [folder / "img", folder]).find(name),
        part=part_of_path(file, root),
        regions=tuple(regions),
        declared=(int(content["size"]["height"]), int(content["size"]["width"])),
    )


def _region(entry: Mapping[str, Any]) -> Region:
    word, kind = word_of(entry["classTitle"]), entry["geometryType"]
    if kind == "bitmap":
        left, top = (int(value) for value in entry["bitmap"]["origin"])
        return BitmapRegion(word=word, data=entry["bitmap"]["data"], left=left, top=top)
    corners = entry.get("points", {}).get("exterior", [])
    if kind == "polygon":
        holes = tuple(points(hole) for hole in entry["points"].get("interior", []))
        return OutlinedRegion(word=word, outer=points(corners), holes=holes)
    if kind == "rectangle":
        (x0, y0), (x1, y1) = corners
        return OutlinedRegion(word=word, outer=points([(x0, y0), (x1, y0), (x1, y1), (x0, y1)]))
    raise Unfit(f"({word}) a {kind} has no area")
