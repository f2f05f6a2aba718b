"""The files `latest` and `best` of a run, whose first line names a checkpoint beside them."""

from pathlib import Path

from jseg.files import PathLike

POINTER = "latest"
BEST = "best"


def behind_pointer(path: PathLike) -> Path:
    """The file itself, where `path` is the pointer `latest` or `best`.

    Raises:
        FileNotFoundError: there is no such file.
    """
    path = Path(path)
    if path.name in (POINTER, BEST) and path.is_file():
        with path.open(encoding="utf-8") as file:
            path = path.parent / file.readline().strip()
    if path.is_dir():
        raise FileNotFoundError(f"checkpoint {path} is a folder; name a file in it")
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path} does not exist; correct the path")
    return path
