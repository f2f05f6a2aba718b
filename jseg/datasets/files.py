"""Finding the files of a data set, with one clear message for each gap."""

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from jseg.datasets.words import read_words
from jseg.names import shortened

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")


def files_by_stem(folder: Path, option: str, suffixes: Sequence[str], make: str = "") -> dict[str, Path]:
    """The files of a folder: name without suffix -> path.

    One directory listing instead of a look-up per file: there may be 100,000 of them on a network disk.

    Args:
        folder: where to look, not below it.
        option: what a user sets to name this folder, for the message.
        suffixes: in lower case, those that count; the first in the order of the alphabet wins.
        make: how else a missing folder can be fixed, for the message.

    Raises:
        FileNotFoundError: there is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: this folder does not exist; check data_root and {option}{make}")
    found: dict[str, Path] = {}
    # In reverse, so that .jpg wins over .png.
    for path in sorted(folder.iterdir(), key=lambda path: path.name, reverse=True):
        if path.suffix.lower() in suffixes and not path.name.startswith("."):  # ._x.jpg: macOS's notes
            found[path.stem] = path
    return found


def without_ending(files: Mapping[str, Path], ending: str) -> dict[str, Path]:
    """The files whose stem ends with `ending`: id, which is the stem without it -> path."""
    return {stem.removesuffix(ending): path for stem, path in files.items() if stem.endswith(ending)}


def read_split(folder: Path, split: str, make: str = "") -> list[str]:
    """The ids in `<folder>/<split>.txt`, one a line.

    Raises:
        FileNotFoundError: no such file; names the splits there are. ValueError: it lists nothing, or is no
            text.
    """
    path = folder / f"{split}.txt"
    if not path.is_file():
        present = sorted(file.stem for file in folder.glob("*.txt"))
        have = f"the splits there are: {', '.join(present)}" if present else "there are no split files there"
        raise FileNotFoundError(
            f"{path}: there is no split '{split}'; {have}; set split to one of them or "
            f"write this file, one id a line{make}"
        )
    return list(read_words(path))


def read_ids(path: str | Path, ending: str = "") -> list[str]:
    """The ids that a text file lists, one a line: as they are, or as names of image files.

    Args:
        ending: what follows the id in the names of images, before the suffix.

    Raises:
        FileNotFoundError: no such file. ValueError: it is no text, lists nothing, or an id twice.
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
    """Checks that `files` has every one of `names`.

    Raises:
        FileNotFoundError: names the first that is missing and says how many more are.
    """
    missing = [name for name in names if name not in files]
    if missing:
        shown = shortened((f"'{name}'" for name in missing), limit=1)
        raise FileNotFoundError(f"{folder}: no {kind} {shown} ({', '.join(endings)}), {fix}")
