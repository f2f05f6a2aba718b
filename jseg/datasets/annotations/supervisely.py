"""Projects of Supervisely: `meta.json`, and datasets with `img/` and `ann/NAME.json` (docs.supervisely.com).

Polygons are drawn as OpenCV's `fillPoly` does, which Supervisely uses. Bitmaps are used unchanged.
"""

import base64
import io
import zlib
from collections.abc import Mapping, Sequence
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
from jseg.datasets.annotations.regions import Region, Unfit, pasted, points

META = "meta.json"
_KEYS = ("objects", "size")


@dataclass(frozen=True, eq=False, kw_only=True)
class OutlinedRegion(Region):
    """A polygon including its outline, without its holes and their outlines. Points are centres of pixels."""

    outer: np.ndarray
    holes: tuple[np.ndarray, ...] = ()

    def mask(self, size: Size) -> np.ndarray:
        """See `Region.mask`."""
        return _filled([self.outer], size) & ~_filled(self.holes, size)


@dataclass(frozen=True, eq=False, kw_only=True)
class BitmapRegion(Region):
    """A mask and its position: a PNG file in base64, compressed by zlib or not."""

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
    """Whether a path is, or contains, a file of Supervisely."""
    return any(holds_keys(file, _KEYS) for file in some(json_files(path)))


def read(path: Path, options: Options) -> Source:
    """Reads all datasets of a project.

    Raises:
        FileNotFoundError, ValueError: if a file does not have this format.
    """
    source = Source(overlap="later")
    meta = path / META
    if meta.is_file():
        with source.listing(meta, "the file"):
            source.add_words([word_of(entry["title"]) for entry in read_json(meta)["classes"]])
    for file in json_files(path):
        if holds_keys(file, _KEYS):
            with source.listing(file, "the file"):
                source.images.append(_read_file(file, path, options, source))
    source.add_used_words()
    return source


def _read_file(file: Path, root: Path, options: Options, source: Source) -> RegionImage:
    content = read_json(file)
    folder = file.parent.parent if file.parent.name == "ann" else root
    name = file.name.removesuffix(".json")
    regions = []
    for number, entry in enumerate(content["objects"], 1):
        with source.listing(file, f"object {number}"):
            regions.append(_region(entry))
    return RegionImage(
        source=file,
        name=str(folder.relative_to(root) / name),
        image=ImageFinder([options.images or folder / "img", folder]).find(name),
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


def _filled(parts: Sequence[np.ndarray], size: Size) -> np.ndarray:
    """Returns the pixels on closed outlines or inside an odd number of them, bool (H, W)."""
    height, width = size
    flips, mask = np.zeros((height, width + 1), np.uint8), np.zeros(size, bool)
    for corners in parts:
        corners = np.rint(corners).astype(np.int64)
        for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0)):
            rows = np.arange(max(min(y0, y1), 0), min(max(y0, y1), height))  # none for a horizontal side
            # Pixels left of the side change sides.
            before = np.ceil(x0 + (rows - y0) * (x1 - x0) / (y1 - y0)) if rows.size else rows
            flips[rows, np.clip(before, 0, width).astype(int)] ^= 1
            x, y = _line(x0, y0, x1, y1)
            inside = (x >= 0) & (x < width) & (y >= 0) & (y < height)
            mask[y[inside], x[inside]] = True
    inner = np.bitwise_xor.accumulate(flips[:, ::-1], axis=1)[:, ::-1][:, 1:]
    return mask | inner.astype(bool)


def _line(x0: int, y0: int, x1: int, y1: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns the pixels x, y of a line from left to right, halves rounded to its beginning (Bresenham)."""
    if x1 < x0:
        x0, y0, x1, y1 = x1, y1, x0, y0
    across, down = x1 - x0, abs(y1 - y0)
    length = max(across, down)
    along = np.arange(length + 1)
    aside = -((length - 2 * min(across, down) * along) // max(2 * length, 1))
    x, y = (along, aside) if across >= down else (aside, along)
    return x0 + x, y0 + np.sign(y1 - y0) * y
