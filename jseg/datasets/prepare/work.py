"""What the preparations of all data sets share: where things are, and converting many files."""

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
        root: the common folder of all data sets, or the folder of this one. Everything is written below it.
        archives: where archives, or what was in them, are looked for besides `root`; nothing is written
            there.
        jobs: processes.
        any_count: accept other numbers of images than the published ones.
    """

    root: Path
    archives: Path
    jobs: int = 1
    any_count: bool = False

    def unpack(self, archive: Archive, target: Path) -> None:
        """Unpacks an official archive into `target` if the archive is there.

        Raises:
            ValueError, OSError: see `jseg.datasets.prepare.archives.unpack`.
        """
        for folder in dict.fromkeys((self.archives, self.root)):
            if (folder / archive.name).is_file():
                written = unpack(archive, folder / archive.name, target)
                print(f"{archive.name}: {written} files unpacked into {target}", flush=True)
                return

    def find(self, home: Path, *names: str) -> Path | None:
        """The first of `names` that exists in the data set's folder, the one above, the common one or that of
        the archives; None if there is none."""
        folders = dict.fromkeys((home, home.parent, self.root, self.archives))
        places = (folder / name for name in names for folder in folders)
        return next((place for place in places if place.exists()), None)

    def convert(self, function: Callable[[Any], bool], tasks: Sequence[Any], label: str) -> None:
        """Runs `function`, which says whether it had to write its mask, on all tasks.

        Raises:
            Problems: some tasks failed; the others are done.
        """
        outcomes = run_tasks(function, tasks, self.jobs, label)
        problems = [outcome.problem for outcome in outcomes if outcome.problem]
        written = sum(bool(outcome.value) for outcome in outcomes)
        kept = len(tasks) - written - len(problems)
        print(f"{label}: {written} masks written, {kept} were there already", flush=True)
        if problems:
            raise Problems(problems)


class Problems(ValueError):
    """Several things that are wrong, one sentence each."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class Pair(NamedTuple):
    """An image, its mask, and how many values the mask may have: 0 and on; 255 is always allowed."""

    image: Path
    mask: Path
    num_values: int


class Annotation(NamedTuple):
    """A published annotation, the image it belongs to, and the mask to be made of it."""

    source: Path
    image: Path
    mask: Path


class Contents(NamedTuple):
    """What a data set on disk should consist of, by its lists and folders.

    Attributes:
        pairs: every image that a list or a folder names, with its mask; both may be absent.
        counts: what is counted -> how many.
        problems: what is wrong with the lists themselves, one sentence each.
        notes: which files are not used, one sentence each; no fault of the data set.
    """

    pairs: list[Pair]
    counts: dict[str, int]
    problems: list[str]
    notes: Sequence[str] = ()


def require(path: Path, archive: Archive, root: Path) -> Path:
    """Returns `path` if it exists.

    Raises:
        FileNotFoundError: names the official archive that holds it.
    """
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: missing; it comes with {archive.name}: put that archive, or what is in it, "
            f"into {root} and run this again"
        )
    return path


def listed_pairs(
    lists: dict[str, list[str]], home: Path, num_values: int, mask_dirs: dict[str, str]
) -> list[Pair]:
    """The pairs of VOC's layout: split -> its ids, split -> its folder of masks."""
    return [
        Pair(home / "JPEGImages" / f"{name}.jpg", home / folder / f"{name}.png", num_values)
        for split, folder in mask_dirs.items()
        for name in lists[split]
    ]


def overlap(lists: dict[str, list[str]], folder: Path, first: str, second: str) -> list[str]:
    """A sentence if two splits share ids, else nothing."""
    both = sorted(set(lists[first]) & set(lists[second]))
    if not both:
        return []
    return [
        (
            f"{folder / f'{first}.txt'}: lists {len(both)} ids of {second}.txt too, e.g. '{both[0]}'; make "
            "the lists "
            "again"
        )
    ]
