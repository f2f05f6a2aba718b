"""The output of a reader, and parts that all readers share: finding images, reading files, listing
problems."""

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any, NamedTuple

from jseg.datasets.annotations.drawing import Drawn, draw
from jseg.datasets.annotations.polygons import Size
from jseg.datasets.annotations.regions import Region, Unfit
from jseg.files import PathLike

IMAGE_FORMATS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp", ".jfif", ".ppm")
"""Suffixes of images that annotations may belong to; `FolderDataset` reads the first three."""

PARTS = ("train", "val", "test")

_PART = re.compile(r"(train|val|test)(?:ing|id|idation)?\d*$", re.IGNORECASE)


class UnreadableFile(ValueError):
    """A file that cannot be read, and why."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path, self.reason = path, reason


class Problem(NamedTuple):
    """Something that cannot be converted: the file, and a sentence."""

    file: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}: {self.text}"


@dataclass(frozen=True, eq=False, kw_only=True)
class AnnotatedImage(ABC):
    """An image and its annotation.

    Attributes:
        source: the file that contains the annotation.
        name: path of the image as the annotation gives it; its stem becomes the id.
        image: the image file, or None if the annotation contains the image itself, in `content`.
        part: 'train', 'val' or 'test', or None if the annotations are not split.
    """

    source: Path
    name: str
    image: Path | None
    content: bytes | None = None
    part: str | None = None

    @abstractmethod
    def size(self) -> Size | None:
        """Returns (H, W) of the annotated image, or None if the annotation does not state it.

        Raises:
            Unfit, OSError: if the annotation cannot be read.
        """

    @abstractmethod
    def draw(self, codes: Mapping[str, int], size: Size, overlap: str) -> Drawn:
        """Returns the label of the image; arguments as in `jseg.datasets.annotations.drawing.draw`.

        Raises:
            Unfit, OSError: if the annotation cannot be read.
        """


@dataclass(frozen=True, eq=False, kw_only=True)
class RegionImage(AnnotatedImage):
    """An image whose annotation is a list of regions. `declared` is (H, W) if the annotation states it."""

    regions: tuple[Region, ...]
    declared: Size | None = None

    def size(self) -> Size | None:
        """See `AnnotatedImage.size`."""
        return self.declared

    def draw(self, codes: Mapping[str, int], size: Size, overlap: str) -> Drawn:
        """See `AnnotatedImage.draw`."""
        return draw(self.regions, codes, size, overlap)


@dataclass
class Source:
    """Everything that a reader has found.

    Attributes:
        words: class words, in the order of the annotations. images: images with their annotations.
        problems: entries that could not be read. overlap: the rule for overlapping regions.
    """

    overlap: str
    words: list[str] = field(default_factory=list)
    images: list[AnnotatedImage] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def add_words(self, words: Sequence[str]) -> None:
        """Adds the words that are new."""
        self.words.extend(word for word in dict.fromkeys(words) if word not in self.words)

    def add_used_words(self) -> None:
        """Adds the words of all regions in alphabetical order, for formats without a list of classes."""
        used = {
            region.word for image in self.images if isinstance(image, RegionImage) for region in image.regions
        }
        self.add_words(sorted(used))

    def merge(self) -> None:
        """Joins the regions of entries for the same image, which may be in several files of one dataset."""
        joined: dict[object, AnnotatedImage] = {}
        for image in self.images:
            key = id(image) if image.image is None else image.image.resolve()
            first = joined.setdefault(key, image)
            if first is not image and isinstance(first, RegionImage) and isinstance(image, RegionImage):
                joined[key] = replace(first, regions=first.regions + image.regions)
        self.images = list(joined.values())

    @contextmanager
    def listing(self, file: PathLike, what: str) -> Iterator[None]:
        """A context in which an error in one entry of an annotation becomes a problem of that file."""
        try:
            yield
        except (Unfit, FileNotFoundError) as problem:
            self.problems.append(Problem(str(file), f"{what}: {problem}"))
        except UnreadableFile as problem:
            self.problems.append(Problem(str(problem.path), problem.reason))
        except (KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError) as problem:
            reason = f"{type(problem).__name__}: {problem}"
            self.problems.append(
                Problem(str(file), f"{what} does not have the form of this format ({reason})")
            )


@dataclass(frozen=True)
class Options:
    """Options for reading the files of a format.

    Attributes:
        images: folder of the images. classes: class words, in order.
        image_ending, mask_ending: end of the names of images and masks after the id, before the suffix.
        reduce_zero_label: value 0 of masks is not a class, and k is class k-1.
    """

    images: Path | None = None
    classes: tuple[str, ...] | None = None
    image_ending: str = ""
    mask_ending: str = ""
    reduce_zero_label: bool = False


class ImageFinder:
    """Finds the images that annotations refer to, even if they were moved.

    Args:
        folders: folders to search, including their subfolders.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = list(dict.fromkeys(folders))
        self._index: dict[str, list[Path]] | None = None  # stem -> images

    def find(self, name: str, near: Path | None = None) -> Path:
        """Returns the image with this path relative to `near` or a folder, or else the image of this name
        whose folders match best.

        Raises:
            Unfit: if there is none, or several match equally well.
        """
        path = PurePath(name.replace("\\", "/"))
        for folder in ([near] if near else []) + self._folders:
            if (folder / path).is_file():
                return folder / path
        return self._closest(path, [other for other in self._of_stem(path.stem) if other.name == path.name])

    def find_stem(self, stem: str, mask: Path) -> Path:
        """Returns the image with this stem and any suffix whose folders match those of the mask best.

        Raises:
            Unfit: if there is none, or several match equally well.
        """
        return self._closest(mask.with_name(stem), [other for other in self._of_stem(stem) if other != mask])

    def _closest(self, path: PurePath, found: Sequence[Path]) -> Path:
        alike = [_common_ending(path.parent, other.parent) for other in found]
        best = [other for other, count in zip(found, alike) if count == max(alike)]
        if len(best) == 1:
            return best[0]
        where = " or ".join(str(folder) for folder in self._folders)
        if best:
            raise Unfit(
                f"there are {len(best)} images named {path.name} in {where}: {best[0]}, {best[1]}; give the "
                "folder of the right ones with --images"
            )
        raise Unfit(f"there is no image {path.name} in {where}; give its folder with --images")

    def _of_stem(self, stem: str) -> list[Path]:
        if self._index is None:
            self._index = {}
            for path in dict.fromkeys(path for folder in self._folders for path in images_below(folder)):
                self._index.setdefault(path.stem, []).append(path)
        return self._index.get(stem, [])


def root_and_finder(path: Path, options: Options) -> tuple[Path, ImageFinder]:
    """Returns the folder of the annotations, and a finder for images in `options.images` or else in that
    folder."""
    root = path if path.is_dir() else path.parent
    return root, ImageFinder([options.images or root])


def images_below(folder: Path) -> list[Path]:
    """Returns all images in a folder and its subfolders, sorted, without hidden files."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in IMAGE_FORMATS and not path.name.startswith(".") and path.is_file()
    )


def part_of(name: str) -> str | None:
    """Returns 'train', 'val' or 'test' if a name, such as instances_val2017, contains this word, or None."""
    for word in re.split(r"[^a-zA-Z0-9]+", name):
        match = _PART.match(word)
        if match:
            return match.group(1).lower()
    return None


def part_of_path(path: Path, root: Path) -> str | None:
    """Returns `part_of` of the folders between `root` and a file, starting with the nearest."""
    folders = path.relative_to(root).parts[:-1]
    return next((part for name in reversed(folders) if (part := part_of(name))), None)


def read_json(path: Path) -> Any:
    """Returns the content of a JSON file.

    Raises:
        FileNotFoundError: if there is no such file. UnreadableFile: if it is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as problem:
        raise UnreadableFile(path, f"not a valid JSON file ({problem}); export it again") from None


def word_of(entry: Any) -> str:
    """Returns the class word of a region.

    Raises:
        Unfit: if it has none.
    """
    word = str(entry).strip() if isinstance(entry, (str, int)) else ""
    if not word:
        raise Unfit("it has no class name")
    return " ".join(word.split())


def _common_ending(first: PurePath, second: PurePath) -> int:
    """Returns the number of equal folders of two paths, counted from the end."""
    count = 0
    for one, other in zip(reversed(first.parts), reversed(second.parts)):
        if one != other:
            break
        count += 1
    return count
