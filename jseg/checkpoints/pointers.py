"""The pointer files `latest` and `best` of a run, whose first line is the name of a checkpoint in their
folder."""

from pathlib import Path

from jseg.files import PathLike

POINTER = "latest"
BEST = "best"


def behind_pointer(path: PathLike) -> Path:
    """Returns the checkpoint that `path` points to if it is `latest` or `best`, else `path` itself.

    Raises:
        FileNotFoundError: if there is no such file.
    """
    path = Path(path)
    if path.name in (POINTER, BEST) and path.is_file():
        with path.open(encoding="utf-8") as file:
            path = path.parent / file.readline().strip()
    if path.is_dir():
        latest = next(
            (file for file in (path / POINTER, path / "checkpoints" / POINTER) if file.is_file()), ""
        )
        raise FileNotFoundError(f"checkpoint {path} is a folder; name a file in it{latest and f': {latest}'}")
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {path} does not exist; correct the path")
    return path
