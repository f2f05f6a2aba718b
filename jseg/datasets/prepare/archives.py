"""Unpacks the needed files of the official archives. Each file is complete or absent, and inside the folder.

Existing files of the right size are kept, so that an interrupted run continues where it stopped.
"""

import gzip
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, NamedTuple

from jseg.datasets.prepare.files import unfinished
from jseg.progress import progress

# Errors that tarfile, zipfile and the decompressors raise for truncated or damaged archives.
_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, EOFError, NotImplementedError)
_PIECE = 1 << 20  # bytes read at a time
# How much larger than the archive its wanted files may be. Compressed images hardly shrink further; the
# label maps of PASCAL Context, 31 MB, take 4 GB if MATLAB has not compressed them.
_LARGEST_RATIO, _ALWAYS_ALLOWED = 20, 8 << 30  # bytes


class Archive(NamedTuple):
    """An official archive: its file name, and a map from name prefixes of the needed members to
    replacements."""

    name: str
    members: Mapping[str, str]


class _Member(NamedTuple):
    name: str
    size: int  # bytes, uncompressed
    open: Callable[[], IO[bytes]] | None  # None for links, devices and encrypted files
    position: int  # position in the archive in bytes


def unpack(archive: Archive, source: Path, target: Path) -> int:
    """Extracts the needed members of the archive file `source` into the folder `target`.

    Returns:
        The number of files written, without those that already existed.

    Raises:
        ValueError: if the archive is damaged, if a needed member would be written outside `target`, or if all
            of them together are far larger than those of an official archive.
        OSError: if a file cannot be read or written.
    """
    written = taken = 0
    limit = _LARGEST_RATIO * source.stat().st_size + _ALWAYS_ALLOWED
    try:
        if not source.name.endswith((".tar", ".zip")):
            with _bar(source, f"{archive.name}: checking") as bar:
                _check_sum(source, bar)
        with _bar(source, archive.name) as bar:
            for member in _members(source):
                place = _place(archive, member, source)
                if place is not None:
                    taken += member.size
                    if taken > limit:
                        raise ValueError(
                            f"{source}: its files would take more than {limit:,} bytes; this is not the "
                            f"official {archive.name}, download it again"
                        )
                    written += _extract(member, target / place)
                bar.update(member.position - bar.n)
    except _DAMAGE as problem:
        reason = (str(problem) or type(problem).__name__).splitlines()[0].rstrip(":")
        raise ValueError(
            f"{source}: the archive is damaged or incomplete ({reason}); download it again"
        ) from problem
    return written


def _bar(source: Path, label: str) -> Any:
    return progress(total=source.stat().st_size, unit="B", label=label)


def _members(source: Path) -> Iterator[_Member]:
    """Yields all files of a .zip or a tar archive, compressed or not."""
    if source.suffix == ".zip":
        with zipfile.ZipFile(source) as file:
            position = 0
            for entry in file.infolist():
                position += entry.compress_size
                link = entry.external_attr >> 28 == 0o12  # the upper half is the Unix mode
                encrypted = bool(entry.flag_bits & 1)
                if not entry.is_dir():
                    open_member = None if link or encrypted else partial(file.open, entry)
                    yield _Member(entry.filename, entry.file_size, open_member, position)
        return
    with source.open("rb") as raw, tarfile.open(fileobj=raw, mode="r:*") as file:
        for entry in file:
            if not entry.isdir():
                yield _Member(
                    entry.name,
                    entry.size,
                    partial(file.extractfile, entry) if entry.isreg() else None,
                    raw.tell(),
                )
        file.fileobj.seek(file.offset)
        while rest := file.fileobj.read(_PIECE):
            if rest.strip(b"\0"):  # tarfile treats a damaged header as the end
                raise tarfile.ReadError("unreadable data after the last member")


def _check_sum(source: Path, bar: Any) -> None:
    """Reads a compressed tar to its end, where its checksum is stored. Raises one of `_DAMAGE` if it differs.

    This happens before anything is written: files from a damaged archive can have the right size, and would
    then be kept by later runs.
    """
    with source.open("rb") as raw, gzip.GzipFile(fileobj=raw) as file:
        while file.read(_PIECE):
            bar.update(raw.tell() - bar.n)


def _place(archive: Archive, member: _Member, source: Path) -> PurePosixPath | None:
    """Returns the path of a member relative to the target folder, or None if it is not needed."""
    name = str(PurePosixPath(member.name))  # ./trainval/x is trainval/x
    for prefix, replacement in archive.members.items():
        if name.startswith(prefix):
            place = PurePosixPath(replacement + name[len(prefix) :])
            if ".." in place.parts or place.is_absolute() or "\\" in name or member.open is None:
                raise ValueError(
                    f"{source}: the member {member.name!r} is a link, is encrypted or points outside the "
                    f"folder; this is not the official {archive.name}, download it again"
                )
            return place
    return None


def _extract(member: _Member, path: Path) -> bool:
    """Writes the file unless it exists with the right size. Returns whether it was written."""
    if path.is_file() and path.stat().st_size == member.size:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    with unfinished(path) as temporary, member.open() as content, temporary.open("wb") as file:
        try:
            shutil.copyfileobj(content, file, _PIECE)
        except gzip.BadGzipFile as problem:  # an OSError, but not caused by writing
            raise tarfile.ReadError(str(problem)) from problem
        if file.tell() != member.size:
            raise EOFError(f"{member.name} ends after {file.tell()} of {member.size} bytes")
    return True
