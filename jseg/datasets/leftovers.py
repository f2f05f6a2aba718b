"""Finds files in the folders of a dataset that are not used, so that they can be reported."""

import os
from collections.abc import Collection, Iterable
from pathlib import Path

from jseg.names import shortened


def left_out(folder: Path, kept: Iterable[Path], parts: Collection[str] = ()) -> list[str]:
    """Returns a sentence about the files and subfolders of `folder` that no dataset reads, if there are any.

    Hidden files are not counted.

    Args:
        folder: folder to check, without its subfolders. It may be missing.
        kept: files and folders that are read, or expected there.
        parts: names of subfolders that are data of their own.
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
                names.append(f"{entry.name}/ with {inside} file{'s' if inside != 1 else ''}")
                count += inside
    if not names:
        return []
    return [f"{folder}: unused files: {count} ({shortened(sorted(names))})"]


def shared_files(first: Collection[Path], second: Collection[Path]) -> list[str]:
    """Returns a sentence about images that are in both of two parts, if there are any."""
    both = sorted({*first} & {*second})
    if not both:
        return []
    names = shortened(path.name for path in both)
    return [f"images in both train and val, which makes the val scores too high: {len(both)} ({names})"]
