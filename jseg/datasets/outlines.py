"""Masks as polygons, for tools in which people correct them: Labelme files and COCO files.

Every connected region of a class becomes one polygon in pixel coordinates, (0, 0) the corner of the image. A
polygon cannot have holes in these formats: it is led into each hole and back along one line. Corners are
dropped where the outline moves by less than `TOLERANCE`. Regions and holes of fewer than `SMALLEST` pixels
are left out, since they would only have to be deleted by hand.

contourpy traces, shapely simplifies; both come with the extra `outlines`.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np

from jseg.files import PathLike, replacing

SMALLEST = 16  # pixels
TOLERANCE = 0.7  # pixels

OUTLINE_FORMS = ("labelme", "coco")


class Outline(NamedTuple):
    """points: float64 (n, 2), x and y in pixels. area: in pixels. box: left, top, right, bottom."""

    points: np.ndarray
    area: float
    box: tuple[float, float, float, float]


def require_outlines() -> None:
    """Raises `ValueError` where the packages of the extra `outlines` are missing."""
    try:
        import contourpy  # noqa: F401
        import shapely  # noqa: F401
    except ImportError as problem:
        raise ValueError(
            f"outlines of masks need a package that is missing here ({problem.name}); install both with "
            "`pip install contourpy shapely`"
        ) from problem


def find_outlines(region: np.ndarray) -> list[Outline]:
    """The outlines of the connected regions in bool (H, W), largest first."""
    from contourpy import FillType, contour_generator
    from shapely import Polygon

    rows, columns = np.flatnonzero(region.any(1)), np.flatnonzero(region.any(0))
    if not rows.size:
        return []
    top, left = rows[0], columns[0]
    # A margin of nothing closes outlines at the border. Contour lines at one half pass between pixel centres.
    values = np.pad(region[top : rows[-1] + 1, left : columns[-1] + 1].astype(np.float32), 1)
    tracer = contour_generator(z=values, fill_type=FillType.OuterOffset)
    points, offsets = cast(tuple[list[np.ndarray], list[np.ndarray]], tracer.filled(0.5, np.inf))
    corner = np.array([left - 0.5, top - 0.5])
    found = []
    for ring, ends in zip(points, offsets):
        rings = [part + corner for part in np.split(ring, ends[1:-1])]
        holes = [hole for hole in rings[1:] if Polygon(hole).area >= SMALLEST]
        whole = Polygon(rings[0], holes)
        if whole.area < SMALLEST:
            continue
        simple = whole.simplify(TOLERANCE)
        closed = [np.asarray(part.coords)[:-1] for part in (simple.exterior, *simple.interiors)]
        found.append(Outline(_joined(closed), float(whole.area), whole.bounds))
    return sorted(found, key=lambda outline: -outline.area)


def _joined(rings: Sequence[np.ndarray]) -> np.ndarray:
    """One ring (n, 2) out of an outer ring and holes: each hole is reached where it is nearest."""
    joined = rings[0]
    for hole in rings[1:]:
        distance = ((joined[:, None] - hole[None]) ** 2).sum(-1)
        at, start = np.unravel_index(distance.argmin(), distance.shape)
        around = np.concatenate([hole[start:], hole[: start + 1]])
        joined = np.concatenate([joined[: at + 1], around, joined[at:]])
    return joined


def class_outlines(mask: np.ndarray, names: Sequence[str]) -> dict[str, list[Outline]]:
    """name -> its outlines, of the names that occur in `mask` (H, W), whose values are indices of names."""
    present = [int(value) for value in np.unique(mask) if value < len(names)]
    return {names[index]: find_outlines(mask == index) for index in present}


def save_labelme(
    path: PathLike, image: PathLike | None, size: tuple[int, int], outlines: Mapping[str, Sequence[Outline]]
) -> None:
    """Writes a Labelme file.

    Args:
        path: of the file. Labelme looks for NAME.json for the image NAME.jpg.
        image: the image file, stored relative to the folder of `path`.
        size: (H, W) of the image.

    Raises:
        OSError: it cannot be written.
    """
    path = Path(path)
    shapes = [
        {
            "label": name,
            "points": outline.points.round(2).tolist(),
            "group_id": None,
            "description": "",
            "shape_type": "polygon",
            "flags": {},
        }
        for name, found in outlines.items()
        for outline in found
    ]
    content: dict[str, Any] = {
        "version": "5.4.1",
        "flags": {},
        "shapes": shapes,
        "imagePath": "" if image is None else os.path.relpath(image, path.parent),
        "imageData": None,
        "imageHeight": size[0],
        "imageWidth": size[1],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, content)


class CocoFile:
    """The images and outlines of one COCO file.

    Args:
        names: the C classes. values: the id of each; by default 1 to C.
    """

    def __init__(self, names: Sequence[str], values: Iterable[int] | None = None) -> None:
        self._ids = dict(zip(names, range(1, len(names) + 1) if values is None else map(int, values)))
        self._entries: dict[int, dict[str, Any]] = {}

    def add(
        self, number: int, image: str, size: tuple[int, int], outlines: Mapping[str, Sequence[Outline]]
    ) -> None:
        """One image; `number` orders the images of the file."""
        found = [
            {
                "category_id": self._ids[name],
                "segmentation": [outline.points.round(2).reshape(-1).tolist()],
                "area": outline.area,
                "bbox": [left, top, right - left, bottom - top],
                "iscrowd": 0,
            }
            for name, regions in outlines.items()
            for outline in regions
            for left, top, right, bottom in [outline.box]
        ]
        described = {"file_name": image, "width": size[1], "height": size[0]}
        self._entries[number] = {"image": described, "annotations": found}

    def entries(self) -> dict[int, dict[str, Any]]:
        """What was added, by number; JSON values."""
        return self._entries

    def take(self, entries: Mapping[int, dict[str, Any]]) -> None:
        """Adds the `entries` of another file, as of another process."""
        self._entries.update(entries)

    def save(self, path: PathLike) -> None:
        """Writes the file; an older one stays until the new one is complete.

        Raises:
            OSError: it cannot be written.
        """
        images: list[dict[str, Any]] = []
        annotations: list[dict[str, Any]] = []
        for image_id, (_, entry) in enumerate(sorted(self._entries.items()), 1):
            images.append({"id": image_id, **entry["image"]})
            for annotation in entry["annotations"]:
                annotations.append({"id": len(annotations) + 1, "image_id": image_id, **annotation})
        categories = [{"id": value, "name": name, "supercategory": ""} for name, value in self._ids.items()]
        _write(Path(path), {"images": images, "categories": categories, "annotations": annotations})


def _write(path: Path, content: Mapping[str, Any]) -> None:
    with replacing(path, durable=False) as temporary:
        temporary.write_text(json.dumps(content) + "\n", encoding="utf-8")
