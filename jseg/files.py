"""Files that a reader sees whole or not at all, and what identifies a file."""

import hashlib
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

PathLike = str | os.PathLike[str]

TEMPORARY_SUFFIX = ".tmp"
"""How the hidden names end under which files are written."""

_BLOCK = 1 << 22  # bytes
_DAY = 86400.0  # seconds


def expanded(path: PathLike) -> Path:
    """The path with `~` and `~user` replaced by the home folder: the rule for all paths of a user.

    A shell leaves `--set data_root=~/x` as it is, and nobody else reads config files.
    """
    with suppress(RuntimeError):  # the home of a user who does not exist
        return Path(path).expanduser()
    return Path(path)


SHIPPED = (Path(__file__).absolute().parents[1], Path(__file__).absolute().parent)
"""Where `configs/`, `weights/` and `samples/` lie: in a clone, and in an installed package."""


def find_file(path: PathLike) -> str:
    """An existing path for `path`: as given, `~` expanded, from the current folder; else one that is shipped.

    Raises:
        FileNotFoundError: it is in none of these places.
    """
    own = expanded(path)
    if own.exists():
        return str(own)
    places = [own.absolute(), *(() if own.is_absolute() else (folder / own for folder in SHIPPED))]
    for place in places:
        if place.exists():
            return str(place)
    raise FileNotFoundError(
        f"{os.fspath(path)} does not exist (looked for {', '.join(map(str, places))}); correct the path"
    )


def shipped_folder(name: str) -> Path:
    """The folder of that name which comes with jseg.

    Raises:
        FileNotFoundError: it is neither in a clone nor in the package.
    """
    for folder in SHIPPED:
        if (folder / name).is_dir():
            return folder / name
    raise FileNotFoundError(f"{name}/ is not beside the package and not inside it; install jseg again")


@contextmanager
def replacing(path: PathLike, durable: bool = True, temporary_name: str | None = None) -> Iterator[Path]:
    """A hidden name beside `path` to write to, which becomes `path` when the block ends without an error.

    Args:
        path: the file; an older one of that name stays until the new one is complete, and after any error.
        durable: also flush file and folder to the disk, so that a power failure loses neither version.
        temporary_name: of the hidden file; by default one that no other process uses. A fixed name is
            overwritten by the next run instead of staying behind a killed one.

    Raises:
        OSError: the folder is missing, not writable or full; the message names `path`.
    """
    path = Path(path)
    hidden = temporary_name or f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}{TEMPORARY_SUFFIX}"
    temporary = path.with_name(hidden)
    try:
        yield temporary
        if durable:
            _sync(temporary)
        temporary.replace(path)
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            reason = error.strerror or str(error)
            raise OSError(
                error.errno, f"cannot write {path}: {reason}; free space or choose another place"
            ) from error
        raise
    if durable:
        with suppress(OSError):  # some file systems cannot sync a folder: the data itself is safe even so
            _sync(path.parent)


@contextmanager
def making_folder(path: PathLike) -> Iterator[Path]:
    """A hidden folder beside `path` to fill, which becomes `path` when the block ends without an error.

    A folder `path` that another process has made meanwhile stays as it is. What runs that were killed more
    than a day ago left behind is removed.

    Raises:
        OSError: the place is not writable or full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    for left in path.parent.glob(f".{path.name}.*{TEMPORARY_SUFFIX}"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > _DAY:
                shutil.rmtree(left, ignore_errors=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=TEMPORARY_SUFFIX, dir=path.parent))
    try:
        temporary.chmod(0o755)
        yield temporary
        try:
            temporary.rename(path)
        except OSError:
            if not path.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_sha256(path: PathLike) -> str:
    """SHA-256 of a file as 64 hexadecimal digits; computed once in a process while the file does not change.

    Raises:
        OSError: the file cannot be read.
    """
    path = Path(path).resolve()
    status = path.stat()
    return _sha256(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=16)
def _sha256(path: Path, modified: int, size: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
