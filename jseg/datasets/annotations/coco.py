"""COCO JSON: instances and stuff, as polygons, or run lengths of both kinds (cocodataset.org/#format-data).

Polygons of one annotation are united, as in pycocotools. Crowds are regions of their class, below all others.
Files of one dataset, such as instances_train2017.json and stuff_train2017.json, are read together.
"""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jseg.datasets.annotations.core import (
    ImageFinder,
    Options,
    RegionImage,
    Source,
    part_of,
    part_of_path,
    read_json,
    word_of,
)
from jseg.datasets.annotations.peek import holds_keys, json_files
from jseg.datasets.annotations.polygons import require_pycocotools
from jseg.datasets.annotations.regions import PolygonRegion, Region, RunRegion, Unfit, points

_LISTS = ("images", "annotations", "categories")
# In long files, the key of the second list is far from both ends.
_KEYS = ("images", "categories", "annotations|category_id")


def recognise(path: Path) -> bool:
    """Whether a path is, or contains, a file of COCO annotations."""
    return any(holds_keys(file, _KEYS) for file in json_files(path))


def read(path: Path, options: Options) -> Source:
    """Reads a file, or all COCO files of a folder and its subfolders.

    Raises:
        FileNotFoundError, ValueError: if there is no such file, or it does not have this format.
    """
    require_pycocotools()
    source = Source(overlap="smaller")
    root = path if path.is_dir() else path.parent
    files = [file for file in json_files(path) if not path.is_dir() or holds_keys(file, _KEYS)]
    above = root.parent if root.name == "annotations" else root
    finder = ImageFinder([options.images] if options.images else [above])
    for file in files:
        _read_file(file, root, finder, source)
    return source


def _read_file(file: Path, root: Path, finder: ImageFinder, source: Source) -> None:
    content = read_json(file)
    if not isinstance(content, Mapping) or not all(isinstance(content.get(key), list) for key in _LISTS):
        raise ValueError(
            f"{file} lacks some of the lists {', '.join(_LISTS)} of a COCO file; export it again"
        )
    names = _category_names(file, content, source)
    source.add_words(list(names.values()))
    regions = _regions(file, content, names, source)
    part = part_of(file.stem) or part_of_path(file, root)
    for entry in content["images"]:
        with source.listing(file, f"image {_field(entry, 'file_name')}"):
            source.images.append(
                RegionImage(
                    source=file,
                    name=str(entry["file_name"]),
                    image=finder.find(str(entry["file_name"]), file.parent),
                    part=part,
                    regions=tuple(regions.get(entry["id"], ())),
                    declared=(int(entry["height"]), int(entry["width"])),
                )
            )


def _category_names(file: Path, content: Mapping[str, Any], source: Source) -> dict[Any, str]:
    names = {}
    for category in content["categories"]:
        with source.listing(file, f"category {_field(category, 'id')}"):
            names[category["id"]] = word_of(category["name"])
    return dict(sorted(names.items(), key=lambda item: (str(type(item[0])), item[0])))


def _regions(
    file: Path, content: Mapping[str, Any], names: Mapping[Any, str], source: Source
) -> dict[Any, list[Region]]:
    """Image id -> its regions."""
    regions: dict[Any, list[Region]] = defaultdict(list)
    for annotation in content["annotations"]:
        what = f"annotation {_field(annotation, 'id')} of image {_field(annotation, 'image_id')}"
        with source.listing(file, what):
            regions[annotation["image_id"]].append(_region(annotation, names))
    return regions


def _region(annotation: Mapping[str, Any], names: Mapping[Any, str]) -> Region:
    if "segments_info" in annotation:
        raise Unfit("it has the panoptic format; use the files of instances and stuff instead")
    category = annotation["category_id"]
    if category not in names:
        raise Unfit(f"there is no category {category}")
    word, layer = names[category], -1 if annotation.get("iscrowd") else 0
    segmentation = annotation.get("segmentation")
    if isinstance(segmentation, Mapping):
        return RunRegion(word=word, layer=layer, segmentation=segmentation)
    if not segmentation:
        raise Unfit(f"({word}) it is a box without a segmentation")
    return PolygonRegion(word=word, layer=layer, parts=tuple(points(part) for part in segmentation))


def _field(entry: Any, name: str) -> Any:
    """Returns a field of an entry of any type, for a message."""
    return entry.get(name, "without " + name) if isinstance(entry, Mapping) else "that is not an object"
