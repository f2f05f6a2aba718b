"""Prepares the folders that the datasets read from the official archives of the three benchmarks, and checks
them.

`jseg/datasets/prepare/<dataset>.py` describes what is published, what is made from it, and the expected
number of images.
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
    """The folder of a dataset, and its counts.

    `problems` describes errors in the dataset and `notes` unused files, one sentence each.
    """

    home: Path
    counts: dict[str, int]
    problems: list[str]
    notes: Sequence[str]


def prepare(name: str, work: Work) -> Report:
    """Prepares a dataset from its archives or their contents. Existing files are kept.

    Args:
        name: one of `BENCHMARKS`.

    Returns:
        Counts, and a check of these and of the presence of all files (`check` also reads the files).

    Raises:
        FileNotFoundError: if an archive is missing. Problems: if some annotations cannot be converted.
        ValueError, OSError: if an archive or list cannot be used, or on disk errors.
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
    """Reads every image and mask of a dataset and lists all problems.

    Raises:
        FileNotFoundError: if there is no such dataset in `work.root`.
    """
    benchmark = BENCHMARKS[name]
    home = benchmark.find_home(work.root)
    if not home.is_dir():
        raise FileNotFoundError(
            f"{home}: this folder does not exist; set --data-root to the folder of {benchmark.TITLE} or its "
            "parent"
        )
    contents = benchmark.contents(home)
    problems = contents.problems + bad_files(contents, work.jobs, benchmark.TITLE)
    if not work.any_count:
        problems += wrong_counts(home, contents.counts, benchmark.PUBLISHED)
    return Report(home, contents.counts, problems, contents.notes)
