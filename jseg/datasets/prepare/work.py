"""Shared parts of the preparation of all datasets: file locations, and conversion of many files."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from jseg.datasets.prepare.archives import Archive, unpack
from jseg.datasets.prepare.parallel import run_tasks


@dataclass(frozen=True)
class Work:
    """The settings of one run.

    Attributes:
        root: the common folder of all datasets, or the folder of this one. Everything is written inside it.
        archives: a folder that is searched for archives or their contents, besides `root`. Nothing is written
            there.
        jobs: number of processes.
        any_count: accept numbers of images other than the published ones.
    """

    root: Path
    archives: Path
    jobs: int = 1
    any_count: bool = False

    def unpack(self, archive: Archive, target: Path) -> None:
        """Unpacks an official archive into `target` if the archive exists.

        Raises:
            ValueError, OSError: as in `jseg.datasets.prepare.archives.unpack`.
        """
        for folder in dict.fromkeys((self.archives, self.root)):
            if (folder / archive.name).is_file():
                written = unpack(archive, folder / archive.name, target)
                print(f"{archive.name}: {written} files unpacked into {target}", flush=True)
                return

    def find(self, home: Path, *names: str) -> Path | None:
        """Returns the first of `names` that exists in the dataset's folder, its parent, the root or the
        folder of the archives, or None."""
        folders = dict.fromkeys((home, home.parent, self.root, self.archives))
        places = (folder / name for name in names for folder in folders)
        return next((place for place in places if place.exists()), None)

    def convert(self, function: Callable[[Any], bool], tasks: Sequence[Any], label: str) -> None:
        """Runs `function`, which returns whether it had to write its mask, on all tasks.

        Raises:
            Problems: if some tasks failed, after finishing the others.
        """
        outcomes = run_tasks(function, tasks, self.jobs, label)
        problems = [outcome.problem for outcome in outcomes if outcome.problem]
        written = sum(bool(outcome.value) for outcome in outcomes)
        kept = len(tasks) - written - len(problems)
        print(f"{label}: {written} masks written, {kept} already existed", flush=True)
        if problems:
            raise Problems(problems)


class Problems(ValueError):
    """Several errors, one sentence each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class Pair(NamedTuple):
    """An image, its mask, and the number of values (from 0) that the mask may have. 255 is always allowed."""

    image: Path
    mask: Path
    num_values: int


class Annotation(NamedTuple):
    """A published annotation, its image, and the mask to be written."""

    source: Path
    image: Path
    mask: Path


class Contents(NamedTuple):
    """The expected files of a dataset on disk, according to its lists and folders.

    Attributes:
        pairs: every image named by a list or folder, with its mask. Both may be missing.
        counts: description of what is counted -> number.
        problems: errors in the lists themselves, one sentence each.
        notes: unused files, one sentence each. They are not an error.
    """

    pairs: list[Pair]
    counts: dict[str, int]
    problems: list[str]
    notes: Sequence[str] = ()


def require(path: Path, archive: Archive, root: Path) -> Path:
    """Returns `path` if it exists.

    Raises:
        FileNotFoundError: if not. The message names the official archive that contains it.
    """
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: missing; it is part of {archive.name}: put that archive or its contents "
            f"into {root} and run this again"
        )
    return path


def listed_pairs(
    lists: dict[str, list[str]], home: Path, num_values: int, mask_dirs: dict[str, str]
) -> list[Pair]:
    """Returns the pairs of VOC's layout from the ids and the mask folder of each split."""
    return [
        Pair(home / "JPEGImages" / f"{name}.jpg", home / folder / f"{name}.png", num_values)
        for split, folder in mask_dirs.items()
        for name in lists[split]
    ]


def overlap(lists: dict[str, list[str]], folder: Path, first: str, second: str) -> list[str]:
    """Returns a sentence if two splits share ids, else nothing."""
    both = sorted(set(lists[first]) & set(lists[second]))
    if not both:
        return []
    return [
        (
            f"{folder / f'{first}.txt'}: lists {len(both)} ids of {second}.txt too, e.g. '{both[0]}'; create "
            "the lists "
            "again"
        )
    ]
