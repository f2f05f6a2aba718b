"""Several published files at a time into a folder: checked, and named only when they are complete."""

import fcntl
import hashlib
import os
import queue
import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from jseg.download.answers import Refused, by_hand, check_size
from jseg.download.progress import Progress, megabytes, tell
from jseg.download.sources import Source
from jseg.download.transfer import Settings, Stopped, Transfer
from jseg.files import expanded

_PIECE = 1 << 20  # bytes
_LAST_WORDS = 2.0  # seconds that transfers have after Ctrl-C


class Mirror:
    """Where files come from in place of their official addresses.

    Args:
        place: an http(s) address or a folder, in which the files have their official names.

    Raises:
        ValueError: an address of another kind. FileNotFoundError: no such folder.
    """

    def __init__(self, place: str) -> None:
        scheme = urlsplit(place).scheme
        self.folder: Path | None = None
        self.address = place.rstrip("/")
        if scheme in ("http", "https"):
            return
        if "://" in place:
            raise ValueError(f"--mirror {place}: give an http or https address, or a folder")
        self.folder = expanded(place)
        if not self.folder.is_dir():
            raise FileNotFoundError(f"--mirror {place}: this folder does not exist; correct the path")


def fetch(
    sources: Sequence[Source],
    folder: Path,
    mirror: Mirror | None = None,
    unpacked: int = 0,
    settings: Settings | None = None,
) -> list[Path]:
    """Brings files to a folder, or finds them in that of the mirror, and checks them.

    A file that is there with the published size and checksum is kept. What is there of a broken transfer is
    completed; a file gets its name when it is complete and right.

    Args:
        unpacked: bytes that are needed in `folder` afterwards.

    Returns:
        The path of each file; in the mirror's folder nothing is copied.

    Raises:
        ValueError: some files cannot be had; a sentence for each. The others are complete.
        OSError: the folder cannot be written, or there is not enough space. KeyboardInterrupt.
    """
    settings = settings or Settings()
    if mirror is not None and mirror.folder is not None:
        _check_space([], folder, unpacked)
        return [_check_copy(source, mirror.folder) for source in sources]
    folder.mkdir(parents=True, exist_ok=True)
    _check_space(sources, folder, unpacked)
    jobs: queue.SimpleQueue[tuple[int, Source]] = queue.SimpleQueue()
    for job in enumerate(sources):
        jobs.put(job)
    problems: list[str] = []
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            try:
                position, source = jobs.get_nowait()
            except queue.Empty:
                return
            url = source.url if mirror is None else f"{mirror.address}/{source.name}"
            try:
                with Progress(source.name, source.size, position) as progress:
                    _fetch_one(source, url, folder, settings, progress, stop)
            except Stopped:
                return
            except (ValueError, OSError) as problem:
                if isinstance(problem, OSError):
                    reason = problem.strerror or str(problem)
                    problem = OSError(
                        f"{source.name} cannot be written to {folder} ({reason}); free space, or name "
                        "another folder with --root; the same command resumes"
                    )
                problems.append(str(problem))
                if len(sources) > 1:  # the others go on
                    tell(f"error: {problem}", sys.stderr)

    _run(work, min(settings.connections, len(sources)), stop)
    if problems:
        raise ValueError(
            f"{len(problems)} of {len(sources)} files could not be had, see above; what is complete stays"
            if len(sources) > 1
            else problems[0]
        )
    return [folder / source.name for source in sources]


def _run(work: Callable[[], None], count: int, stop: threading.Event) -> None:
    """Runs `work` in threads until all have ended.

    Raises:
        KeyboardInterrupt: after the threads were told to stop. One that waits for a server is left alone:
            what it has received is in its file.
    """
    threads = [threading.Thread(target=work, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        while any(thread.is_alive() for thread in threads):
            time.sleep(0.05)
    except KeyboardInterrupt:
        stop.set()
        end = time.monotonic() + _LAST_WORDS
        for thread in threads:
            thread.join(max(end - time.monotonic(), 0))
        raise


def _fetch_one(
    source: Source, url: str, folder: Path, settings: Settings, progress: Progress, stop: threading.Event
) -> None:
    path, part = folder / source.name, _part(folder, source)
    if path.exists():
        _check_there(source, path, progress)
        tell(f"{source.name}: was there already{_checked(source)}")
        return
    begun = time.monotonic()
    with part.open("ab"):  # made, if it is not there
        pass
    with part.open("r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(
                f"{part}: another process is downloading this file; wait until it has ended"
            ) from None
        if path.exists():  # the process that had it locked has just completed it
            return
        transfer = Transfer(source, url, file, part, settings, progress, stop)
        try:
            _complete(transfer, source, url, part, progress)
        finally:
            if part.stat().st_size == 0:
                part.unlink()
                transfer.forget()
        os.fsync(file.fileno())
        part.replace(path)
        transfer.forget()
    seconds = time.monotonic() - begun
    tell(f"{source.name}: {megabytes(path.stat().st_size)} in {seconds:.0f} s{_checked(source)}")


def _complete(transfer: Transfer, source: Source, url: str, part: Path, progress: Progress) -> None:
    """Downloads until the checksum is right, twice at most: a file may have changed between two parts of it.

    Raises:
        Refused: the checksum is wrong again, or see `Transfer.run`.
    """
    for last in (False, True):
        transfer.run()
        check_size(source, part.stat().st_size)
        wrong = wrong_checksum(source, part, progress)
        if not wrong:
            return
        transfer.discard()
        if last:
            raise Refused(f"{source.name}: downloaded twice from {url}, and {wrong}; {by_hand(source)}")
        tell(f"{source.name}: {wrong}; downloading it once more", sys.stderr)


def wrong_checksum(source: Source, path: Path, progress: Progress) -> str:
    """In which checksum a file differs from the published one; '' if in none, or if none is published."""
    if source.checksum is None:
        return ""
    digest = hashlib.new(source.checksum.algorithm, usedforsecurity=False)
    progress.begin(0, path.stat().st_size)
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
            progress.add(len(piece))
    if digest.hexdigest() == source.checksum.digits:
        return ""
    return f"its {_title(source)} is {digest.hexdigest()}, published is {source.checksum.digits}"


def _check_there(source: Source, path: Path, progress: Progress) -> None:
    """Whether a file that somebody has put there is the published one.

    Raises:
        Refused: it is not; it stays as it is.
    """
    try:
        check_size(source, path.stat().st_size)
    except Refused as problem:
        raise Refused(f"{path} is there, and not as published: {problem}") from None
    wrong = wrong_checksum(source, path, progress)
    if wrong:
        raise Refused(f"{path} is there, but {wrong}; remove it or rename it to download the published file")


def _check_copy(source: Source, folder: Path) -> Path:
    """The file in the folder of a mirror, which is left as it is."""
    path = folder / source.name
    if not path.is_file():
        raise FileNotFoundError(f"--mirror {folder}: there is no {source.name} in it; {source.by_hand}")
    with Progress(source.name, source.size) as progress:
        _check_there(source, path, progress)
    tell(f"{path}: found{_checked(source)}")
    return path


def _check_space(sources: Sequence[Source], folder: Path, unpacked: int) -> None:
    """There must be space for what is missing and what is made of it.

    Raises:
        OSError: there is not; names both amounts.
    """
    missing = 0
    for source in sources:
        if not (folder / source.name).exists():
            part = _part(folder, source)
            missing += max(source.size - (part.stat().st_size if part.exists() else 0), 0)
    place = folder.absolute()
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    if free < missing + unpacked:
        raise OSError(
            f"{folder}: about {megabytes(missing + unpacked)} are needed ({megabytes(missing)} to download, "
            f"{megabytes(unpacked)} for what is made of it), {megabytes(free)} are free; free space, or name "
            "a folder on another disk with --root"
        )


def _part(folder: Path, source: Source) -> Path:
    """Where a file is until it is complete."""
    return folder / f".{source.name}.part"


def _title(source: Source) -> str:
    """'SHA-256' of 'sha256'."""
    name = source.checksum.algorithm if source.checksum else ""
    return {"sha256": "SHA-256", "sha1": "SHA-1", "md5": "MD5"}.get(name, name)


def _checked(source: Source) -> str:
    return (
        f", {_title(source)} as published"
        if source.checksum
        else ", size plausible; no checksum is published"
    )
