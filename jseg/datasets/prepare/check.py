"""Whether a data set on disk is complete and sound: counts, files, sizes and label values."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from jseg.datasets.files import read_split
from jseg.datasets.masks import check_labels, check_size, read_image, read_mask
from jseg.datasets.prepare.parallel import run_tasks
from jseg.datasets.prepare.work import Contents, Pair


def absent_files(contents: Contents) -> list[str]:
    """One sentence for every image and mask that should be there and is not."""
    problems = []
    for pair in contents.pairs:
        for path, kind in ((pair.image, "image"), (pair.mask, "mask")):
            if not path.is_file():
                problems.append(f"{path}: this {kind} does not exist; unpack and prepare again")
    return problems


def bad_files(contents: Contents, jobs: int, label: str) -> list[str]:
    """One sentence for everything that is wrong with an image or mask, found by reading all of them."""
    outcomes = run_tasks(check_pair, contents.pairs, jobs, label)
    return [problem for outcome in outcomes for problem in outcome.value]


def check_pair(pair: Pair) -> list[str]:
    """What is wrong with an image and its mask: existence,
    content, size, label values; one sentence each."""
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
    """What differs from the published counts, one sentence each; nothing if one of the `published` fits."""
    if found in published:
        return []
    problems = []
    for name, count in found.items():
        accepted = [counts[name] for counts in published]
        if count not in accepted:
            problems.append(
                f"{home}: {count} {name} instead of {' or '.join(map(str, accepted))}; unpack the archives "
                "again and prepare them, or pass --any-count for a part of the data set"
            )
    return problems or [
        f"{home}: the lists do not belong together; remove them and prepare the data set again"
    ]


def read_lists(folder: Path, splits: Sequence[str]) -> tuple[dict[str, list[str]], list[str]]:
    """The ids of each split file, and what is wrong with the files: absent, empty, an id twice."""
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
                f"{folder / f'{split}.txt'}: {len(names) - len(lists[split])} ids are listed twice; make "
                "the list again"
            )
    return lists, problems
