"""Finds the files of a dataset, with a clear message for each missing one."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from jseg.datasets.words import read_words
from jseg.names import shortened

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


def files_by_stem(folder: Path, option: str, suffixes: Sequence[str], make: str = "") -> dict[str, Path]:
    """Returns the files of a folder: name without suffix -> path.

    Lists the folder once instead of looking up each file, since there may be 100,000 of them on a network
    disk.

    Args:
        folder: folder to list, without its subfolders.
        option: name of the option that sets this folder, for the message.
        suffixes: accepted suffixes in lower case. If several match, the alphabetically first one is used.
        make: another way to fix a missing folder, for the message.

    Raises:
        FileNotFoundError: if the folder does not exist.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: this folder does not exist; check data_root and {option}{make}")
    found: dict[str, Path] = {}
    # In reverse, so that .jpg replaces .png.
    for path in sorted(folder.iterdir(), key=lambda path: path.name, reverse=True):
        # ._x.jpg: metadata files of macOS.
        if path.suffix.lower() in suffixes and not path.name.startswith("."):
            found[path.stem] = path
    return found


def without_ending(files: Mapping[str, Path], ending: str) -> dict[str, Path]:
    """Returns the files whose stem ends with `ending`: id (the stem without it) -> path."""
    return {stem.removesuffix(ending): path for stem, path in files.items() if stem.endswith(ending)}


def ending_of(text: str, suffixes: Sequence[str]) -> str:
    """Returns an ending without the file suffix: '_leftImg8bit.png', as in mmsegmentation's `img_suffix`, and
    '_leftImg8bit' mean the same."""
    suffix = PurePosixPath(f"x{text}").suffix
    return text.removesuffix(suffix) if suffix.lower() in suffixes else text


def read_split(folder: Path, split: str, make: str = "") -> list[str]:
    """Returns the ids in `<folder>/<split>.txt`, one per line.

    Raises:
        FileNotFoundError: if the file is missing. The message lists the existing splits. ValueError: if it is
            empty or not text.
    """
    path = folder / f"{split}.txt"
    if not path.is_file():
        present = sorted(file.stem for file in folder.glob("*.txt"))
        have = f"existing splits: {', '.join(present)}" if present else "there are no split files"
        raise FileNotFoundError(
            f"{path}: there is no split '{split}'; {have}; set split to an existing one or "
            f"write this file, one id per line{make}"
        )
    return list(read_words(path))


def read_ids(path: str | Path, ending: str = "") -> list[str]:
    """Returns the ids listed in a text file, one per line, either as ids or as names of image files.

    Args:
        ending: suffix of image names after the id, before the file suffix.

    Raises:
        FileNotFoundError: if the file is missing. ValueError: if it is not text, is empty, or lists an id
            twice.
    """
    ids = []
    for word in read_words(path):
        suffix = PurePosixPath(word).suffix
        stem = word.removesuffix(suffix) if suffix.lower() in IMAGE_SUFFIXES else word
        ids.append(stem.removesuffix(ending))
    if len(set(ids)) < len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        raise ValueError(f"{path}: '{twice}' is listed twice; remove one of the lines")
    return ids


def require_files(
    names: Sequence[str],
    files: Mapping[str, Path],
    folder: Path,
    endings: Sequence[str],
    kind: str,
    fix: str = "although the split lists it; add the file or remove the id from the split",
) -> None:
    """Checks that `files` contains all `names`.

    Raises:
        FileNotFoundError: if not. The message names the first missing file and the number of others.
    """
    missing = [name for name in names if name not in files]
    if missing:
        shown = shortened((f"'{name}'" for name in missing), limit=1)
        raise FileNotFoundError(f"{folder}: no {kind} {shown} ({', '.join(endings)}), {fix}")
