"""Annotations of any format -> the folder that `FolderDataset` reads: images, masks, words and lists."""

import io
import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np
from PIL import Image

from jseg.datasets.annotations.core import PARTS, AnnotatedImage, Problem, Source
from jseg.datasets.annotations.drawing import MOST_CLASSES, UNNAMED, Drawn
from jseg.datasets.annotations.pairing import REPLACE
from jseg.datasets.annotations.regions import Unfit, shown
from jseg.datasets.classes import load_class_list, voc_palette
from jseg.datasets.files import IMAGE_SUFFIXES
from jseg.datasets.masks import open_image, save_mask
from jseg.datasets.orientation import turned_upright, upright_size
from jseg.datasets.prepare.parallel import run_tasks
from jseg.files import making_folder
from jseg.labels import IGNORE_INDEX
from jseg.names import shortened

BACKGROUND = ("background", "_background_")
"""Words for unlabelled pixels."""
VOID = ("__ignore__", "ignore", "void", "unlabeled", "unlabelled")
"""Words for pixels that do not belong to a class."""
LEFT_OUT = "left_out.txt"
_FEW = 200  # images that one process converts before others have started


@dataclass(frozen=True)
class Settings:
    """Options for the new folder.

    Attributes:
        classes: the class words in order. None: those of the annotations. Regions with other words are
            ignored (255).
        ignored: words whose pixels are ignored.
        rest: the class of unlabelled pixels. None: they are ignored.
        overlap: 'later' or 'smaller'. None: the rule of the format.
        link: make symbolic links to the images instead of copies.
        jobs: processes.
    """

    classes: tuple[str, ...] | None = None
    ignored: tuple[str, ...] = ()
    rest: str | None = None
    overlap: str | None = None
    link: bool = False
    jobs: int = 1


class Part(NamedTuple):
    """The images of a part: ids, and for each label the numbers of pixels and of images, int64 (256,)."""

    ids: list[str]
    pixels: np.ndarray
    occurs: np.ndarray


class Conversion(NamedTuple):
    """The result of a conversion.

    Attributes:
        names: the class words. parts: 'train', 'val', 'test' -> its images; 'all' without lists.
        shown: image id -> classes in its mask.
        problems: everything that was left out. notes: sentences about the whole conversion.
    """

    names: tuple[str, ...]
    parts: Mapping[str, Part]
    shown: Mapping[str, Sequence[int]]
    problems: Sequence[Problem]
    notes: Sequence[str]


class _Task(NamedTuple):
    image: AnnotatedImage
    identity: str
    folder: Path
    codes: Mapping[str, int]
    overlap: str
    rest: int
    link: bool


class _Written(NamedTuple):
    pixels: np.ndarray  # int64 (256,)
    contested: int
    turned: bool
    problems: Sequence[str]

    def classes(self) -> list[int]:
        return np.flatnonzero(self.pixels[:IGNORE_INDEX]).tolist()


def convert(source: Source, out: Path, settings: Settings) -> Conversion:
    """Writes the new folder, either completely or not at all.

    Args:
        source: the output of a reader.
        out: the folder, which must be new or empty.

    Raises:
        ValueError: if `out` is not empty, the class words are invalid, or no image has a mask.
        OSError: if the disk is full or not writable.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} already exists; choose another folder, or remove this one")
    names = class_words(source, settings)
    with making_folder(out) as folder:
        (folder / "images").mkdir()
        (folder / "masks").mkdir()
        tasks = _tasks(source, settings, names, folder)
        outcomes = run_tasks(_convert_image, tasks, settings.jobs if len(tasks) > _FEW else 1, "masks")
        problems = [*source.problems]
        written: dict[str, _Written] = {}
        for task, outcome in zip(tasks, outcomes):
            texts = [outcome.problem] if outcome.value is None else outcome.value.problems
            problems.extend(_problem(task.image, text) for text in texts)
            if outcome.value is not None and outcome.value.classes():
                written[task.identity] = outcome.value
        if not written:
            raise ValueError(f"no image contains a pixel of a class{f'; {problems[0]}' if problems else ''}")
        parts, notes = _write_lists(folder, tasks, written)
        (folder / "classes.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
        if problems:
            text = "".join(f"{problem}\n" for problem in problems)
            (folder / LEFT_OUT).write_text(text, encoding="utf-8")
    unknown = [word for word in settings.ignored if word not in source.words]
    if unknown:
        notes.append(f"words to ignore that no region and no class has: {shortened(unknown)}")
    notes = [*_notes(source, names, tasks, written), *notes]
    return Conversion(
        names, parts, {name: entry.classes() for name, entry in written.items()}, problems, notes
    )


def class_words(source: Source, settings: Settings) -> tuple[str, ...]:
    """Returns the classes of the new folder, with `rest` at the end if it is new.

    Raises:
        ValueError: if there is no class, there are too many, or one is listed twice.
    """
    left_out = {*BACKGROUND, *VOID, *settings.ignored}
    names = settings.classes or tuple(word for word in source.words if word not in left_out)
    if settings.rest is not None and settings.rest not in names:
        names = (*names, settings.rest)
    if not names:
        first = f"; {source.problems[0]}" if source.problems else ""
        raise ValueError(f"no region of the annotations has a class{first}")
    if len(names) >= MOST_CLASSES:
        raise ValueError(
            f"there are {len(names)} classes, but at most {MOST_CLASSES - 1} are possible; "
            "select some with --classes FILE"
        )
    return load_class_list(names).names


def unique_ids(names: Sequence[str]) -> list[str]:
    """Returns an id for each image: the stem of its name, preceded by its folders if several have this stem.

    Characters that a list of ids cannot contain become `_`.
    """
    paths = [PurePath(name.replace("\\", "/")) for name in names]
    stems = Counter(path.stem for path in paths)
    ids = []
    for path in paths:
        folders = [part for part in path.parts[:-1] if part not in ("/", "..", ".")]
        ids.append(_listable(path.stem if stems[path.stem] == 1 else "_".join([*folders, path.stem])))
    counts = Counter(ids)
    taken = {name for name in ids if counts[name] == 1}
    for place, name in enumerate(ids):
        if counts[name] > 1:
            ids[place] = next(new for number in count(1) if (new := f"{name}_{number}") not in taken)
            taken.add(ids[place])
    return ids


def _listable(name: str) -> str:
    """Returns an id that `FolderDataset` finds in a folder and in a list, where names may have a suffix."""
    name = re.sub(r"[,;|\t\r\n]", "_", name).strip()
    name = f"_{name[1:]}" if name.startswith(".") else name
    stem, dot, suffix = name.rpartition(".")
    return f"{stem}_{suffix}" if f"{dot}{suffix}".lower() in IMAGE_SUFFIXES else name


def _tasks(source: Source, settings: Settings, names: Sequence[str], folder: Path) -> list[_Task]:
    codes = dict.fromkeys((*VOID, *settings.ignored), IGNORE_INDEX)
    codes |= dict.fromkeys(BACKGROUND, UNNAMED)
    codes |= {word: index for index, word in enumerate(names)}
    rest = IGNORE_INDEX if settings.rest is None else names.index(settings.rest)
    identities = unique_ids([image.name for image in source.images])
    return [
        _Task(image, identity, folder, codes, settings.overlap or source.overlap, rest, settings.link)
        for image, identity in zip(source.images, identities)
    ]


def _problem(image: AnnotatedImage, text: str) -> Problem:
    """A problem of an image, which is named if the file has annotations of several images."""
    one = PurePath(image.name).stem in image.source.stem
    text = text.removeprefix(f"{image.source}: ")
    return Problem(str(image.source), text if one else f"{image.name}: {text}")


def _convert_image(task: _Task) -> _Written:
    """Writes an image and its mask, or neither if the mask would not contain any class.

    Raises:
        Unfit, ValueError, OSError: if the annotation or the image cannot be used.
    """
    image = task.image
    content: Path | io.BytesIO = io.BytesIO(image.content or b"") if image.image is None else image.image
    pixels = open_image(content, fix=REPLACE)  # reads the whole file
    with Image.open(content) as opened:
        drawn, turned = _drawn_upright(task, opened)
        suffix = f".{opened.format}".lower() if image.image is None else image.image.suffix.lower()
    label = np.where(drawn.label == UNNAMED, task.rest, drawn.label).astype(np.uint8)
    written = _Written(np.bincount(label.reshape(-1), minlength=256), drawn.contested, turned, drawn.problems)
    if written.classes():
        kept = suffix in IMAGE_SUFFIXES
        target = task.folder / "images" / f"{task.identity}{suffix if kept else '.png'}"
        if kept:
            _copy(content, target, task.link)
        else:
            pixels.save(target)
        save_mask(task.folder / "masks" / f"{task.identity}.png", label, voc_palette(UNNAMED)[1:])
    return written


def _drawn_upright(task: _Task, opened: Image.Image) -> tuple[Drawn, bool]:
    """Returns the label of the upright image, and whether the annotation was made for the stored image.

    Raises:
        Unfit: if the annotation is for an image of another size.
    """
    upright, stored = upright_size(opened), (opened.height, opened.width)
    declared = task.image.size() or upright
    if declared not in (upright, stored):
        raise Unfit(
            f"the annotation is for an image of {shown(declared)} pixels, but the image has {shown(upright)}"
        )
    drawn = task.image.draw(task.codes, declared, task.overlap)
    if declared == upright:
        return drawn, False
    return drawn._replace(label=turned_upright(drawn.label, opened)), True


def _copy(content: Path | io.BytesIO, target: Path, link: bool) -> None:
    """Copies an image with its orientation tag, which `FolderDataset` applies."""
    if isinstance(content, io.BytesIO):
        target.write_bytes(content.getvalue())
    elif link:
        target.symlink_to(content.absolute())
    else:
        shutil.copyfile(content, target)


def _write_lists(
    folder: Path, tasks: Sequence[_Task], written: Mapping[str, _Written]
) -> tuple[dict[str, Part], list[str]]:
    """Writes train.txt and val.txt if the annotations are split. Returns the parts and notes."""
    ids: dict[str | None, list[str]] = {}
    for task in tasks:
        if task.identity in written:
            ids.setdefault(task.image.part, []).append(task.identity)
    notes = []
    if "train" in ids and "val" not in ids and "test" in ids:
        ids["val"] = ids.pop("test")
        notes.append("the annotations have no val part, so their test part is listed in val.txt")
    if not {"train", "val"} <= ids.keys():
        return {"all": _part(list(written), written)}, notes
    if None in ids:
        rest = ids.pop(None)
        notes.append(f"images that are not in any part, and not in any list: {len(rest)} ({shortened(rest)})")
    parts = {name: _part(ids[name], written) for name in PARTS if name in ids}
    for name, part in parts.items():
        (folder / f"{name}.txt").write_text("".join(f"{entry}\n" for entry in part.ids), encoding="utf-8")
    return parts, notes


def _part(ids: list[str], written: Mapping[str, _Written]) -> Part:
    pixels = np.array([written[name].pixels for name in ids])
    return Part(ids, pixels.sum(0), (pixels > 0).sum(0))


def _notes(
    source: Source, names: Sequence[str], tasks: Sequence[_Task], written: Mapping[str, _Written]
) -> list[str]:
    notes = []
    empty = [task.identity for task in tasks if task.identity not in written]
    if empty:
        notes.append(
            f"images that do not contain any class and were left out: {len(empty)} ({shortened(empty)})"
        )
    others = [word for word in source.words if word not in names]
    if others:
        notes.append(f"words that are not classes of the new folder: {shortened(others)}")
    present = {index for entry in written.values() for index in entry.classes()}
    absent = [name for index, name in enumerate(names) if index not in present]
    if absent:
        notes.append(
            f"classes that are not in any mask: {shortened(absent)}; list them in unseen.txt, or leave them "
            "out with --ignore or --classes"
        )
    contested = [entry.contested for entry in written.values() if entry.contested]
    if contested:
        winner = "later" if tasks[0].overlap == "later" else "smaller"
        notes.append(
            f"{sum(contested)} pixels in {len(contested)} images belong to regions of two classes; they get "
            f"the class of the {winner} region"
        )
    turned = sum(entry.turned for entry in written.values())
    if turned:
        notes.append(f"masks that were rotated by the orientation tags of their images: {turned}")
    return notes
