"""From the official archives of the three benchmarks to the
folders that the data sets read, and a check of them.

`jseg/datasets/prepare/<data set>.py` says what is published, what
is made of it and how many pictures there must be.
"""

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from jseg.datasets.prepare import coco_stuff, context, voc2012
from jseg.datasets.prepare.check import absent_files, bad_files, wrong_counts
from jseg.datasets.prepare.work import Problems, Work

__all__ = ["BENCHMARKS", "Problems", "Report", "Work", "check", "prepare", "survey"]

BENCHMARKS: dict[str, ModuleType] = {"voc2012": voc2012, "context": context, "coco_stuff": coco_stuff}


class Report(NamedTuple):
    """The folder of a data set and what was counted in it.

    `problems` says what is wrong with it and `notes` which files are not used, one sentence each.
    """

    home: Path
    counts: dict[str, int]
    problems: list[str]
    notes: Sequence[str]


def prepare(name: str, work: Work) -> Report:
    """Makes a data set out of its archives or of what was in them; what is there already is kept.

    Args:
        name: one of `BENCHMARKS`.

    Returns:
        Counts and a check of them and of the presence of all files (`check` also reads the files).

    Raises:
        FileNotFoundError: an archive is missing; names it. Problems: annotations that cannot be converted.
        ValueError, OSError: an archive, a list or the disk.
    """
    BENCHMARKS[name].prepare(work)
    return survey(name, work)


def survey(name: str, work: Work) -> Report:
    """Counts a data set and looks for all files that its lists name, without reading them."""
    benchmark = BENCHMARKS[name]
    home = benchmark.find_home(work.root)
    contents = benchmark.contents(home)
    problems = contents.problems + absent_files(contents)
    if not work.any_count:
        problems += wrong_counts(home, contents.counts, benchmark.PUBLISHED)
    return Report(home, contents.counts, problems, contents.notes)


def check(name: str, work: Work) -> Report:
    """Reads every picture and mask of a data set and lists everything that is wrong.

    Raises:
        FileNotFoundError: there is no such data set below `work.root`.
    """
    benchmark = BENCHMARKS[name]
    home = benchmark.find_home(work.root)
    if not home.is_dir():
        raise FileNotFoundError(
            f"{home}: this folder does not exist; name the one of {benchmark.TITLE} or the folder "
            "above it with --data-root"
        )
    contents = benchmark.contents(home)
    problems = contents.problems + bad_files(contents, work.jobs, benchmark.TITLE)
    if not work.any_count:
        problems += wrong_counts(home, contents.counts, benchmark.PUBLISHED)
    return Report(home, contents.counts, problems, contents.notes)
