"""What lies in the folders of a data set and is not read: counted and named, never left out in silence."""

import os
from collections.abc import Collection, Iterable
from pathlib import Path

from jseg.names import shortened


def left_out(folder: Path, kept: Iterable[Path], parts: Collection[str] = ()) -> list[str]:
    """A sentence about the files and sub-folders of `folder` that no data set reads; none if there are none.

    Hidden files do not count.

    Args:
        folder: looked at itself, not what lies below it; it may be missing.
        kept: files and folders that are read, or known to lie there.
        parts: names of sub-folders that are data of their own.
    """
    known = {path.name for path in kept if path.parent == folder}
    names: list[str] = []
    count = 0
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name in known or entry.name.startswith("."):
                continue
            if not entry.is_dir():
                names.append(entry.name)
                count += 1
            elif entry.name not in parts:
                inside = sum(len(files) for _, _, files in os.walk(entry.path))
                names.append(f"{entry.name}/ with {inside} files")
                count += inside
    if not names:
        return []
    return [f"{folder}: files that are not used: {count} ({shortened(sorted(names))})"]


def shared_files(first: Collection[Path], second: Collection[Path]) -> list[str]:
    """A sentence about the images that are in both of two parts; none if there are none."""
    both = sorted({*first} & {*second})
    if not both:
        return []
    names = shortened(path.name for path in both)
    return [f"images both in train and in val, which makes the scores of val too good: {len(both)} ({names})"]
