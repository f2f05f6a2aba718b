"""Class lists with names, colours and the seen/unseen split, stored as data files.

A list is a JSON file in `jseg/datasets/data/` with the keys `title`, `names`, `palette` (one RGB triple per
class) and `unseen` (indices into `names`), so adding a dataset means adding a file. Alternatively, a list
names another `list`, the classes that it is `without`, how many of the `first` classes it takes, and whether
a class `background` precedes them. `raw_values`, if present, are the values of the classes in the published
annotations. Indices are training indices, i.e. after zero-label reduction.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from jseg.labels import IGNORE_INDEX
from jseg.names import did_you_mean

_DATA = Path(__file__).parent / "data"


@dataclass(frozen=True, eq=False)
class ClassList:
    """Names (C), palette uint8 (C, 3) RGB, and the indices of the unseen classes."""

    names: tuple[str, ...]
    palette: np.ndarray
    unseen: tuple[int, ...]


def available_class_lists() -> tuple[str, ...]:
    """Returns the names that `load_class_list` accepts, sorted."""
    return tuple(sorted(path.stem for path in _DATA.glob("*.json")))


def load_class_list(classes: str | Sequence[str]) -> ClassList:
    """Returns the class list of that name, or one with the given class names (VOC colours, no unseen
    classes).

    Raises:
        ValueError: if the list name is unknown, the list is empty, or a class occurs twice.
    """
    if not isinstance(classes, str):
        names = tuple(classes)
        return _checked("classes", names, voc_palette(len(names) + 1)[1:], ())
    known = available_class_lists()
    if classes not in known:
        raise ValueError(
            f"classes: there is no class list '{classes}'{did_you_mean(classes, known)}; "
            "a tuple of class names is also accepted"
        )
    content = _read(classes)
    return _checked(classes, content["names"], content["palette"], content["unseen"])


def raw_values(classes: str) -> tuple[int, ...]:
    """Returns the value of each class of a list (C) in the annotations as published by their authors."""
    return tuple(_read(classes)["raw_values"])


def published_values(classes: str | Sequence[str]) -> tuple[int, ...] | None:
    """Returns `raw_values` of a list if it has them and they fit into 8 bits, else None, also for class
    words.

    Those of PASCAL Context, numbers of 459 classes, do not fit.
    """
    values = raw_values(classes) if isinstance(classes, str) and "raw_values" in _read(classes) else ()
    return values if values and max(values) < IGNORE_INDEX else None


def resolve_unseen(unseen: Sequence[int | str], names: Sequence[str]) -> tuple[int, ...]:
    """Converts indices or names to sorted class indices.

    Raises:
        ValueError: if an index or name is not in `names`.
    """
    indices = set()
    for entry in unseen:
        if isinstance(entry, str):
            if entry not in names:
                quoted = (
                    f"; the only class is '{names[0]}'" if len(names) == 1 else did_you_mean(entry, names)
                )
                raise ValueError(f"unseen: there is no class '{entry}'{quoted}")
            entry = list(names).index(entry)
        if not 0 <= entry < len(names):
            raise ValueError(
                f"unseen: class index {entry} is outside 0..{len(names) - 1}; "
                "give indices (or names) of the class list"
            )
        indices.add(int(entry))
    return tuple(sorted(indices))


def voc_palette(count: int) -> np.ndarray:
    """Returns the first `count` colours of the PASCAL VOC colour map, uint8 (count, 3). Entry 0 is black.

    Source: VOC development kit, `VOClabelcolormap`: bit 3j+k of the index is bit 7-j of channel k.
    """
    palette = np.zeros((count, 3), np.uint8)
    index = np.arange(count)
    for bit in range(8):
        for channel in range(3):
            palette[:, channel] |= (((index >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    return palette


@cache
def _read(name: str) -> dict[str, Any]:
    """Reads the file of a class list, and resolves `list`, `first`, `without` and `background`."""
    content = json.loads((_DATA / f"{name}.json").read_text(encoding="utf-8"))
    if "list" not in content:
        return content
    whole, without = _read(content["list"]), content.get("without", ())
    names = whole["names"][: content.get("first")]
    kept = [index for index, class_name in enumerate(names) if class_name not in without]
    ground = int(content.get("background", False))
    return {
        "names": ["background"] * ground + [names[index] for index in kept],
        "palette": [[0, 0, 0]] * ground + [whole["palette"][index] for index in kept],
        "unseen": [kept.index(index) + ground for index in whole["unseen"] if index in kept],
    }


def class_words_key(part: str, settings: Mapping[str, Any]) -> str:
    """Returns the origin of the class words of `dataset.<part>` for an error: the config key, and the file or
    list that it names."""
    classes = settings.get("classes")
    return f"config key dataset.{part}.classes" + (f" ({classes})" if isinstance(classes, str) else "")


def _checked(
    origin: str, names: Sequence[str], palette: np.ndarray | Sequence[Sequence[int]], unseen: Sequence[int]
) -> ClassList:
    names = tuple(names)
    colours = np.asarray(palette, np.uint8)
    if not names or len(names) >= IGNORE_INDEX:
        raise ValueError(
            f"{origin}: a class list has 1 to {IGNORE_INDEX - 1} classes, not {len(names)} "
            f"({IGNORE_INDEX} marks ignored pixels)"
        )
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{origin}: class '{twice[0]}' is listed twice; list every class once")
    if colours.shape != (len(names), 3):
        raise ValueError(
            f"{origin}: palette has shape {colours.shape}; give one RGB triple for each of "
            f"the {len(names)} classes"
        )
    return ClassList(names, colours, resolve_unseen(unseen, names))
