"""Label Studio's JSON export: brush strokes, polygons, rectangles and ellipses.

If an image has several annotations, the first one that was not cancelled counts. Coordinates are in percent
of the image size.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from jseg.datasets.annotations.core import (
    ImageFinder,
    Options,
    RegionImage,
    Source,
    part_of,
    read_json,
    root_and_finder,
    word_of,
)
from jseg.datasets.annotations.peek import holds_keys, json_files
from jseg.datasets.annotations.polygons import Size, require_pycocotools
from jseg.datasets.annotations.regions import (
    EllipseRegion,
    PolygonRegion,
    Region,
    Unfit,
    points,
    rectangle,
    turned,
)

_KEYS = ("annotations", "data", "result")
_UPLOADED = re.compile(r"^[0-9a-f]{8}-(?=.)")  # prefix of the names of uploaded files
_CHANNELS = 4  # brush strokes are RGBA; the last channel is the mask
_LABELS = "labels"  # end of the types of results with class words: brushlabels, polygonlabels, labels, ...
_PLACES = ("brush", "polygon", "rectangle", "ellipse")
_OF_THE_IMAGE = ("choices", "textarea", "rating", "relation", "taxonomy", "number")


@dataclass(frozen=True, eq=False, kw_only=True)
class BrushRegion(Region):
    """Brush strokes: RGBA of the whole image, packed as described in `decode_brush`."""

    packed: Sequence[int]

    def mask(self, size: Size) -> np.ndarray:
        """See `Region.mask`."""
        values = decode_brush(self.packed)
        if values.size != size[0] * size[1] * _CHANNELS:
            raise Unfit(
                f"its brush strokes have {values.size // _CHANNELS} pixels, but its image has {np.prod(size)}"
            )
        return values.reshape(*size, _CHANNELS)[..., -1] > 0


def decode_brush(packed: Sequence[int]) -> np.ndarray:
    """Returns the values of brush strokes, uint8 (n,), from bytes packed by thi.ng/rle-pack.

    Bits, highest first: n (32), bits of a value - 1 (5), four lengths of counts - 1 (4 each). Then, until n
    values are there: whether a run follows (1), which length its count has (2), the count - 1, and the value,
    or as many values as the count says.

    Raises:
        Unfit: if the bits end too early, or values have more than eight bits.
    """
    try:
        bits = np.unpackbits(np.frombuffer(bytes(packed), np.uint8))
    except (TypeError, ValueError):
        raise Unfit("its brush strokes are not a list of bytes") from None
    position = 0

    def number(length: int) -> int:
        nonlocal position
        if position + length > bits.size:
            raise Unfit("its brush strokes are truncated")
        value = int("".join(map(str, bits[position : position + length].tolist())), 2)
        position += length
        return value

    count, width = number(32), number(5) + 1
    lengths = [number(4) + 1 for _ in range(4)]
    if width > 8 or count > 1 << 31:
        raise Unfit(f"its brush strokes have {count} values of {width} bits")
    values, done = np.zeros(count, np.uint8), 0
    while done < count:
        run = number(1)
        until = min(done + 1 + number(lengths[number(2)]), count)
        if run:
            values[done:until] = number(width)
        else:
            taken = bits[position : position + width * (until - done)]
            if taken.size < width * (until - done):
                raise Unfit("its brush strokes are truncated")
            position += taken.size
            values[done:until] = taken.reshape(-1, width) @ (1 << np.arange(width)[::-1])
        done = until
    return values


def recognise(path: Path) -> bool:
    """Whether a path is, or contains, an export of Label Studio."""
    return any(holds_keys(file, _KEYS, begins="[") for file in json_files(path))


def read(path: Path, options: Options) -> Source:
    """Reads an export, or all exports of a folder.

    Raises:
        FileNotFoundError, ValueError: if there is no such file, or it does not have this format.
    """
    require_pycocotools()
    source = Source(overlap="later")
    _, finder = root_and_finder(path, options)
    for file in json_files(path):
        if path.is_dir() and not holds_keys(file, _KEYS, begins="["):
            continue
        tasks = read_json(file)
        if not isinstance(tasks, list):
            raise ValueError(f"{file}: not a list of tasks; export the project as JSON")
        for number, task in enumerate(tasks, 1):
            with source.listing(file, f"task {number}"):
                source.images.append(_read_task(file, task, finder, source))
    source.add_used_words()
    return source


def _read_task(file: Path, task: Mapping[str, Any], finder: ImageFinder, source: Source) -> RegionImage:
    if "annotations" not in task:
        raise Unfit("it has no 'annotations'; export the project as JSON, not as JSON-MIN")
    name = _image_name(task)
    done = [entry for entry in task["annotations"] if not entry.get("was_cancelled")]
    results = done[0]["result"] if done else []
    regions, sizes = [], set()
    named = {result.get("id") for result in results if _kind(result).endswith(_LABELS)}
    for number, result in enumerate(results, 1):
        # About the whole image, or the shape of a region whose words are in another entry.
        if _kind(result) in _OF_THE_IMAGE or (_kind(result) in _PLACES and result.get("id") in named):
            continue
        with source.listing(file, f"region {number} of {name}"):
            size = int(result["original_height"]), int(result["original_width"])
            if result.get("image_rotation"):
                raise Unfit("its image was rotated in Label Studio; rotate it back and export again")
            sizes.add(size)
            regions.append(_region(result, size))
    if len(sizes) > 1:
        raise Unfit(f"{name}: its regions belong to images of different sizes")
    image = _find(name, file, finder)
    return RegionImage(
        source=file,
        name=str(Path(name).with_name(image.name)),
        image=image,
        part=part_of(file.stem),
        regions=tuple(regions),
        declared=sizes.pop() if sizes else None,
    )


def _kind(result: Mapping[str, Any]) -> str:
    return str(result.get("type"))


def _image_name(task: Mapping[str, Any]) -> str:
    """Returns the file name of a task's image, given as a path, an address, or a file of the server."""
    texts = [value for value in task["data"].values() if isinstance(value, str)]
    text = task["data"].get("image") or (texts[0] if len(texts) == 1 else "")
    if not isinstance(text, str) or not text:
        raise Unfit("its data do not contain an image")
    address = urlsplit(text)
    inside = parse_qs(address.query).get("d")  # /data/local-files/?d=folder/photo.jpg
    return (inside[0] if inside else unquote(address.path)).lstrip("/")


def _find(name: str, file: Path, finder: ImageFinder) -> Path:
    try:
        return finder.find(name, file.parent)
    except Unfit:
        path = Path(name)
        original = _UPLOADED.sub("", path.name)
        if original == path.name:
            raise
        return finder.find(str(path.with_name(original)), file.parent)


def _region(result: Mapping[str, Any], size: Size) -> Region:
    kind, value = _kind(result), result["value"]
    words = value.get(kind) or []
    if not kind.endswith(_LABELS) or not any(key in value for key in ("rle", "points", "radiusX", "height")):
        raise Unfit(f"it is a region of type {kind} without an area or a class")
    if len(words) != 1:
        raise Unfit(f"it has {len(words)} class names, but a pixel can have only one")
    word = word_of(words[0])
    if "rle" in value:
        if value.get("format", "rle") != "rle":
            raise Unfit(f"its brush strokes have the format {value['format']}")
        return BrushRegion(word=word, packed=value["rle"])
    scale = np.array([size[1], size[0]]) / 100
    if "points" in value:
        return PolygonRegion(word=word, parts=(points(np.asarray(value["points"], float) * scale),))
    place = np.array([value["x"], value["y"]], float) * scale
    degrees = float(value.get("rotation", 0))
    if "radiusX" in value:
        radii = np.array([value["radiusX"], value["radiusY"]], float) * scale
        return EllipseRegion(
            word=word,
            centre=(float(place[0]), float(place[1])),
            radii=(float(radii[0]), float(radii[1])),
            degrees=degrees,
        )
    right, bottom = place + np.array([value["width"], value["height"]], float) * scale
    corners = rectangle(place[0], place[1], right, bottom)
    # Label Studio rotates rectangles about their upper left corner.
    return PolygonRegion(word=word, parts=(turned(corners, place, degrees) if degrees else corners,))
