"""Paths given by users, atomic writing of files and folders, and file hashes."""

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
"""Suffix of the hidden files and folders that are written first and then renamed."""

_BLOCK = 1 << 22  # bytes
_DAY = 86400.0  # seconds


def expanded(path: PathLike) -> Path:
    """Expands `~` and `~user` in a path. jseg applies this to every path that a user gives.

    A shell does not expand `--set data_root=~/x`, and paths in config files never pass through a shell.
    """
    with suppress(RuntimeError):  # the user does not exist
        return Path(path).expanduser()
    return Path(path)


SHIPPED = (Path(__file__).absolute().parents[1], Path(__file__).absolute().parent)
"""Folders that may contain `configs/`, `weights/` and `samples/`: a clone, or the installed package."""


def find_file(path: PathLike) -> str:
    """Finds an existing path: `path` itself, with `~` expanded, or else the file of that name shipped with
    jseg.

    Raises:
        FileNotFoundError: if neither exists.
    """
    own = expanded(path)
    if own.exists():
        return str(own)
    places = [own.absolute(), *(() if own.is_absolute() else (folder / own for folder in SHIPPED))]
    places = list(dict.fromkeys(places))
    for place in places:
        if place.exists():
            return str(place)
    raise FileNotFoundError(
        f"{os.fspath(path)} does not exist (looked for {', '.join(map(str, places))}); correct the path"
    )


def shipped_folder(name: str) -> Path:
    """Finds a folder that is shipped with jseg.

    Raises:
        FileNotFoundError: if neither the clone nor the package has it.
    """
    for folder in SHIPPED:
        if (folder / name).is_dir():
            return folder / name
    raise FileNotFoundError(f"jseg's folder {name}/ was not found next to or in the package; reinstall jseg")


@contextmanager
def replacing(path: PathLike, durable: bool = True, temporary_name: str | None = None) -> Iterator[Path]:
    """Yields a hidden path next to `path` to write to, and renames it to `path` if the block succeeds.

    Args:
        path: file to write. An existing one stays until the new one is complete, and after any error.
        durable: also flush the file and its folder to disk, so that a power failure cannot lose both
            versions.
        temporary_name: name of the hidden file. By default, it is unique to this call. A fixed name lets the
            next run overwrite the file that a killed run left behind.

    Raises:
        OSError: if the folder is missing, not writable or full. The message names `path`.
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
        with suppress(OSError):  # some file systems cannot sync a folder; the data itself is safe
            _sync(path.parent)


@contextmanager
def making_folder(path: PathLike) -> Iterator[Path]:
    """Yields a hidden folder next to `path` to fill, and renames it to `path` if the block succeeds.

    If another process has created `path` in the meantime, that folder stays. Folders left behind by runs that
    were killed more than a day ago are removed.

    Raises:
        OSError: if the location is not writable or full.
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
    """SHA-256 of a file as 64 hexadecimal digits. The result is cached until the file changes.

    Raises:
        OSError: if the file cannot be read.
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
