"""Checks that a dataset on disk is complete and intact: counts, files, sizes and label values."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from jseg.datasets.files import read_split
from jseg.datasets.masks import check_labels, check_size, read_image, read_mask
from jseg.datasets.prepare.parallel import run_tasks
from jseg.datasets.prepare.work import Contents, Pair


def absent_files(contents: Contents) -> list[str]:
    """Returns one sentence for every missing image and mask."""
    problems = []
    for pair in contents.pairs:
        for path, kind in ((pair.image, "image"), (pair.mask, "mask")):
            if not path.is_file():
                problems.append(f"{path}: this {kind} does not exist; unpack and prepare again")
    return problems


def bad_files(contents: Contents, jobs: int, label: str) -> list[str]:
    """Reads all images and masks, and returns one sentence for every problem."""
    outcomes = run_tasks(check_pair, contents.pairs, jobs, label)
    return [problem for outcome in outcomes for problem in outcome.value]


def check_pair(pair: Pair) -> list[str]:
    """Checks existence, content, size and label values of an image and its mask. Returns one sentence per
    problem."""
    problems = []
    image = mask = None
    try:
        mask = read_mask(pair.mask)
        check_labels(mask, pair.num_values, False, pair.mask)
    except (ValueError, FileNotFoundError) as problem:
        problems.append(str(problem))
    try:
        image = read_image(pair.image, None if mask is None else mask.shape)
    except (ValueError, FileNotFoundError) as problem:
        problems.append(str(problem))
    if image is not None and mask is not None:
        try:
            check_size(mask, image.shape[:2], pair.mask, pair.image)
        except ValueError as problem:
            problems.append(str(problem))
    return problems


def wrong_counts(home: Path, found: Mapping[str, int], published: Sequence[Mapping[str, int]]) -> list[str]:
    """Compares with the published counts. Returns one sentence per difference, or none if one of `published`
    fits."""
    if found in published:
        return []
    problems = []
    for name, count in found.items():
        accepted = [counts[name] for counts in published]
        if count not in accepted:
            problems.append(
                f"{home}: {count} {name} instead of {' or '.join(map(str, accepted))}; unpack the archives "
                "again and prepare them, or pass --any-count for an incomplete dataset"
            )
    return problems or [
        f"{home}: the lists do not match each other; remove them and prepare the dataset again"
    ]


def read_lists(folder: Path, splits: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """Returns the ids of each split file, and problems of the files: missing, empty, or an id listed
    twice."""
    lists: dict[str, list[str]] = {}
    problems = []
    for split in splits:
        try:
            names = read_split(folder, split)
        except (ValueError, FileNotFoundError) as problem:
            names = []
            problems.append(str(problem))
        lists[split] = list(dict.fromkeys(names))
        if len(lists[split]) < len(names):
            problems.append(
                f"{folder / f'{split}.txt'}: {len(names) - len(lists[split])} ids are listed twice; create "
                "the list again"
            )
    return lists, problems
