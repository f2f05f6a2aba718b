"""Recognises files by their beginning and end, without reading large files completely."""

from collections.abc import Iterator, Sequence
from pathlib import Path

_HEAD = 1 << 16  # bytes
_MOST_FILES = 2000  # that are checked in a folder; the files of one export are alike


def files_below(path: Path, suffix: str) -> Iterator[Path]:
    """Yields the file itself, or the files with this suffix in a folder and its subfolders, without hidden
    files."""
    if path.is_file():
        yield from [path] if path.suffix.lower() == suffix else []
        return
    for file in sorted(path.rglob(f"*{suffix}")):
        if not file.name.startswith(".") and file.is_file():
            yield file


def json_files(path: Path) -> list[Path]:
    """See `files_below`."""
    return list(files_below(path, ".json"))


def holds_keys(path: Path, keys: Sequence[str], begins: str = "{") -> bool:
    """Whether a JSON file begins with this bracket and has the keys near its beginning or end.

    Args:
        keys: names, or alternatives separated by `|`.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            file.seek(max(path.stat().st_size - _HEAD, 0))
            text = (head + file.read(_HEAD)).decode("utf-8-sig", "replace")
    except OSError:
        return False
    named = all(any(f'"{name}"' in text for name in key.split("|")) for key in keys)
    return named and text.lstrip().startswith(begins)


def some(files: Sequence[Path]) -> Sequence[Path]:
    """Returns the first files of a folder, which suffice to recognise its format."""
    return files[:_MOST_FILES]
