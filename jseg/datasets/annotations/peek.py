"""A look at the beginning of files, to tell what they are without reading all of a large one."""

from collections.abc import Iterator, Sequence
from pathlib import Path

_HEAD = 1 << 16  # bytes
_MOST_FILES = 2000  # looked at in a folder; those of one export are alike


def files_below(path: Path, suffix: str) -> Iterator[Path]:
    """The file itself, or the files of that suffix in a folder and below it; hidden ones do not count."""
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
    """Whether a JSON file begins with that bracket and names the keys near its beginning or its end.

    Args:
        keys: each a name, or names with `|` between them, of which one is enough.
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
    """The first files of a folder: enough to tell what it holds."""
    return files[:_MOST_FILES]
