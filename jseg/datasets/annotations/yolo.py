"""YOLO segmentation (docs.ultralytics.com): text files `labels/x.txt` for `images/x.jpg`, a region per line.

A line has a class number and the corners of a polygon, x and y as fractions of width and height. The class
names are in `data.yaml`, or in `classes.txt`, one per line. Lines of four numbers are boxes without outlines.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jseg.datasets.annotations.core import (
    PARTS,
    ImageFinder,
    Options,
    RegionImage,
    Source,
    images_below,
    part_of_path,
    word_of,
)
from jseg.datasets.annotations.peek import files_below, some
from jseg.datasets.annotations.polygons import Size, fill_polygons, require_pycocotools
from jseg.datasets.annotations.regions import Region, Unfit, points
from jseg.datasets.words import read_words

CLASSES = "classes.txt"
_LABELS, _IMAGES = "labels", "images"


@dataclass(frozen=True, eq=False, kw_only=True)
class ShareRegion(Region):
    """A polygon whose points are fractions of width and height, drawn by COCO's rule."""

    shares: np.ndarray

    def mask(self, size: Size) -> np.ndarray:
        """See `Region.mask`."""
        return fill_polygons([points(self.shares * [size[1], size[0]])], size)


def recognise(path: Path) -> bool:
    """Whether a path is, or contains, a label file of YOLO."""
    if path.is_file():
        return path.suffix.lower() == ".txt" and _looks_like_labels(path)
    return any(map(_looks_like_labels, some(list(files_below(path, ".txt")))))


def read(path: Path, options: Options) -> Source:
    """Reads the label files of a folder.

    Raises:
        FileNotFoundError, ValueError: if label files or class names are missing, or data.yaml is not valid.
    """
    require_pycocotools()
    source = Source(overlap="smaller")
    root = path.parent if path.name == _LABELS else path
    settings = _settings(root)
    names = _names(root, settings)
    source.add_words(list(names.values()))
    parts = _parts(root, settings)
    finder = ImageFinder([options.images or root])
    for file in files_below(root, ".txt"):
        if not _looks_like_labels(file):
            continue
        with source.listing(file, "the file"):
            image = finder.find_stem(file.stem, _image_place(file, root))
            part = parts.get(image.resolve(), part_of_path(file, root))
            source.images.append(_read_file(file, image, root, part, names, source))
    return source


def _looks_like_labels(file: Path) -> bool:
    """Whether the first line of a file is a class number and an even number of coordinates."""
    try:
        line = next((line for line in file.read_text(encoding="utf-8").splitlines() if line.strip()), "")
        number, *shares = (float(value) for value in line.split())
    except (ValueError, OSError, UnicodeDecodeError):
        return False
    return number.is_integer() and len(shares) >= 4 and len(shares) % 2 == 0


def _settings(root: Path) -> Mapping[str, Any]:
    """Returns the content of the YAML file of the dataset, or nothing if there is none."""
    files = sorted([*root.glob("*.yaml"), *root.glob("*.yml")])
    file = next((file for file in files if file.stem == "data"), files[0] if files else None)
    if file is None:
        return {}
    try:
        import yaml
    except ImportError:
        raise ValueError(
            f"reading {file} needs PyYAML: pip install -e '.[annotations]' (or pip install pyyaml)"
        ) from None
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as problem:
        reason = " ".join(str(problem).split())
        raise ValueError(f"{file}: not a valid YAML file ({reason})") from None
    return content if isinstance(content, Mapping) else {}


def _names(root: Path, settings: Mapping[str, Any]) -> dict[int, str]:
    """Class number -> name."""
    names = settings.get("names")
    if isinstance(names, list):
        names = dict(enumerate(names))
    if isinstance(names, Mapping):
        try:
            return dict(sorted((int(number), word_of(name)) for number, name in names.items()))
        except (TypeError, ValueError, OverflowError) as problem:
            raise ValueError(
                f"{root}: the names in the YAML file are no class names by number ({problem}); correct them"
            ) from None
    if (root / CLASSES).is_file():
        return dict(enumerate(read_words(root / CLASSES)))
    raise FileNotFoundError(
        f"{root}: there is neither a data.yaml with names nor a {CLASSES}; write the class names in the "
        "order of the numbers 0, 1, ... to the latter, one per line"
    )


def _parts(root: Path, settings: Mapping[str, Any]) -> dict[Path, str]:
    """Image -> part, from the folders or lists of images in the YAML file."""
    parts: dict[Path, str] = {}
    for part in PARTS:
        given = settings.get(part) or []
        for entry in given if isinstance(given, list) else [given]:
            place = _place(root, str(settings.get("path") or ""), str(entry))
            if place is None:
                continue
            images: Sequence[Path] = [place]
            if place.is_dir():
                images = images_below(place)
            elif place.suffix == ".txt":
                images = [place.parent / line for line in read_words(place)]
            parts.update((image.resolve(), part) for image in images)
    return parts


def _place(root: Path, base: str, entry: str) -> Path | None:
    """Returns the path of an entry, or None if it does not exist. Roboflow writes `../train/images` for
    `train/images`."""
    choices = [root / base / entry, root / entry, root / entry.removeprefix("../")]
    return next((place for place in choices if place.exists()), None)


def _image_place(file: Path, root: Path) -> Path:
    """`labels/a/x.txt` -> `images/a/x`. The last folder called `labels` is replaced."""
    parts = list(file.relative_to(root).parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place] == _LABELS:
            parts[place] = _IMAGES
            break
    return root.joinpath(*parts).with_suffix("")


def _read_file(
    file: Path, image: Path, root: Path, part: str | None, names: Mapping[int, str], source: Source
) -> RegionImage:
    regions = []
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip():
            with source.listing(file, f"line {number}"):
                regions.append(_region(line, names))
    return RegionImage(
        source=file,
        name=str(image.relative_to(root)) if image.is_relative_to(root) else image.name,
        image=image,
        part=part,
        regions=tuple(regions),
    )


def _region(line: str, names: Mapping[int, str]) -> Region:
    number, *shares = line.split()
    if int(number) not in names:
        raise Unfit(f"there is no class {number}")
    if len(shares) in (4, 5):
        raise Unfit(f"({names[int(number)]}) it is a box without an outline")
    return ShareRegion(word=names[int(number)], shares=points(shares))
