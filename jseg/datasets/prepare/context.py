"""PASCAL Context: prepares masks of 60 classes for images of VOC 2010 from either published annotation.

- `trainval_merged.json` of the detail API: regions as compressed run lengths, painted over each other in the
order
  of the file. It lists 4,996 images for training and 5,104 for validation, as in the paper.
- `trainval.tar.gz`, the release of 459 classes: `trainval/<id>.mat` with a LabelMap for each image in VOC
2010's
  lists for detection, ImageSets/Main, which contain 4,998 and 5,105.

Both use the same category numbers. The 59 classes become 1..59 in the order of these numbers, and all others
0.
"""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jseg.datasets.annotations.rle import decode_rle
from jseg.datasets.classes import load_class_list, raw_values
from jseg.datasets.files import read_split
from jseg.datasets.masks import check_size
from jseg.datasets.prepare.archives import Archive
from jseg.datasets.prepare.check import read_lists
from jseg.datasets.prepare.files import image_size, is_complete_png, write_label, write_list
from jseg.datasets.prepare.matlab import read_label_map, require_scipy
from jseg.datasets.prepare.work import Annotation, Contents, Work, listed_pairs, overlap, require
from jseg.datasets.roots import new_root

TITLE = "PASCAL Context"
VOC = Archive(
    "VOCtrainval_03-May-2010.tar",
    {f"VOCdevkit/VOC2010/{folder}/": f"{folder}/" for folder in ("JPEGImages", "ImageSets/Main")},
)
MATS = Archive("trainval.tar.gz", {"trainval/": "trainval/"})
JSON = "trainval_merged.json"
PUBLISHED = (
    {"images in train": 4996, "images in val": 5104},
    {"images in train": 4998, "images in val": 5105},
)

_LISTS, _MASKS = "ImageSets/SegmentationContext", "SegmentationClassContext"
_CLASS_LIST = "context60"
_HIGHEST = 459  # category number


class _Regions(NamedTuple):
    """The annotation of one image in the JSON: category and run lengths of each region, lowest layer
    first."""

    origin: str  # for messages
    regions: list[tuple[int, dict[str, Any]]]
    image: Path
    mask: Path


def find_home(root: Path) -> Path:
    """Returns the folder of the dataset, existing or to be created."""
    return new_root(str(root), _CLASS_LIST, "JPEGImages")


def prepare(work: Work) -> None:
    """Writes masks of 60 classes and the two lists, from the JSON if it exists, else from the .mat files.

    Raises:
        FileNotFoundError: if an archive is missing. ValueError: if a file cannot be read, or a different list
            exists.
        Problems: if some annotations cannot be converted, after converting the others. OSError: on disk
            errors.
    """
    home = find_home(work.root)
    work.unpack(VOC, home)
    require(home / "JPEGImages", VOC, work.root)
    source = work.find(home, JSON)
    if source is None:
        work.unpack(MATS, home)
        source = work.find(home, "trainval")
    if source is None:
        raise FileNotFoundError(
            f"{home / JSON}: missing, and so is the folder trainval of {MATS.name}; copy {JSON} "
            f"(for the counts of the paper) or {MATS.name} into {work.root} and run this again"
        )
    (home / _MASKS).mkdir(exist_ok=True)
    lists = (
        _convert_json(work, home, source) if source.suffix == ".json" else _convert_mats(work, home, source)
    )
    for split, names in lists.items():
        write_list(home / _LISTS / f"{split}.txt", names)


def contents(home: Path) -> Contents:
    """Returns the files named by the two lists."""
    folder = home / _LISTS
    lists, problems = read_lists(folder, ("train", "val"))
    problems += overlap(lists, folder, "train", "val")
    pairs = listed_pairs(lists, home, len(raw_values(_CLASS_LIST)), {"train": _MASKS, "val": _MASKS})
    return Contents(pairs, {f"images in {split}": len(names) for split, names in lists.items()}, problems)


def _convert_json(work: Work, home: Path, source: Path) -> dict[str, list[str]]:
    """Converts the annotations of the JSON. Returns split -> ids."""
    print(f"{source.name}: reading", flush=True)
    content = _load(source)
    lists: dict[str, list[str]] = {"train": [], "val": []}
    tasks: dict[int, _Regions] = {}
    try:
        for image in content["images"]:
            if image["phase"] in lists:
                name = Path(image["file_name"]).stem
                lists[image["phase"]].append(name)
                tasks[image["image_id"]] = _Regions(
                    f"{source}, image {name}",
                    [],
                    home / "JPEGImages" / f"{name}.jpg",
                    home / _MASKS / f"{name}.png",
                )
        for annotation in content["annos_segmentation"]:
            if annotation["image_id"] in tasks:
                tasks[annotation["image_id"]].regions.append(
                    (annotation["category_id"], annotation["segmentation"])
                )
    except (KeyError, TypeError) as problem:
        raise ValueError(
            f"{source}: this is not the JSON of the detail API ({type(problem).__name__} {problem} in "
            "images or annos_segmentation); download it again"
        ) from problem
    work.convert(_convert_regions, list(tasks.values()), _MASKS)
    return lists


def _load(source: Path) -> Any:
    try:
        with source.open(encoding="utf-8") as file:
            return json.load(file)
    except ValueError as problem:
        raise ValueError(
            f"{source}: the JSON is damaged or incomplete ({problem}); download it again"
        ) from problem


def _convert_regions(annotation: _Regions) -> bool:
    if is_complete_png(annotation.mask):
        return False
    size = image_size(annotation.image)
    label = np.zeros(size, np.int64)
    for category, segmentation in annotation.regions:
        try:
            region = decode_rle(segmentation)
        except ValueError as problem:
            raise ValueError(f"{annotation.origin}: {problem}; download the file again") from problem
        check_size(region, size, annotation.origin, annotation.image)
        if not isinstance(category, int) or not 1 <= category <= _HIGHEST:
            raise ValueError(
                f"{annotation.origin}: category {category!r} is not in 1..{_HIGHEST}; download the file again"
            )
        label[region] = category
    _write(annotation.mask, label)
    return True


def _convert_mats(work: Work, home: Path, source: Path) -> dict[str, list[str]]:
    """Converts the label maps of all images in the lists for detection. Returns split -> ids.

    Existing lists with fewer images, such as those of the JSON, are kept.
    """
    require_scipy()
    lists = {}
    tasks = []
    for split in ("train", "val"):
        require(home / "ImageSets" / "Main" / f"{split}.txt", VOC, work.root)
        names = read_split(home / "ImageSets" / "Main", split)
        tasks += [
            Annotation(
                source / f"{name}.mat", home / "JPEGImages" / f"{name}.jpg", home / _MASKS / f"{name}.png"
            )
            for name in names
        ]
        present = read_split(home / _LISTS, split) if (home / _LISTS / f"{split}.txt").is_file() else names
        lists[split] = present if set(present) <= set(names) else names
    work.convert(_convert_label_map, tasks, _MASKS)
    return lists


def _convert_label_map(annotation: Annotation) -> bool:
    if is_complete_png(annotation.mask):
        return False
    label = read_label_map(annotation.source)
    check_size(label, image_size(annotation.image), annotation.source, annotation.image)
    _write(annotation.mask, label)
    return True


def _write(path: Path, label: np.ndarray) -> None:
    write_label(path, _table()[label], load_class_list(_CLASS_LIST).palette)


@lru_cache(maxsize=1)
def _table() -> np.ndarray:
    """Returns the table from category number to class, uint8 (460). All other categories are background."""
    table = np.zeros(_HIGHEST + 1, np.uint8)
    table[list(raw_values(_CLASS_LIST))] = np.arange(len(raw_values(_CLASS_LIST)))
    return table
