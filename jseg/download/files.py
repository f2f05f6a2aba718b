"""Downloads several files at a time into a folder and checks them. Only complete files get their names."""

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
_GRACE = 2.0  # seconds that transfers have to end after Ctrl-C


class Mirror:
    """A source of files that replaces their official addresses.

    Args:
        place: an http(s) address or a folder that holds the files under their official names.

    Raises:
        ValueError: if it is another kind of address. FileNotFoundError: if there is no such folder.
    """

    def __init__(self, place: str) -> None:
        self.folder: Path | None = None
        self.address = place.rstrip("/")
        if place.lower().startswith(("http:", "https:")):
            _check_address(place)
            return
        if "://" in place:
            raise ValueError(f"--mirror {place}: must be an http or https address, or a folder")
        self.folder = expanded(place)
        if not self.folder.is_dir():
            raise FileNotFoundError(f"--mirror {place}: this folder does not exist; correct the path")


def _check_address(place: str) -> None:
    """Raises ValueError if requests for an http(s) address of a mirror would fail anywhere."""
    try:
        address = urlsplit(place)
        host, _ = address.hostname, address.port  # reading the port checks it
    except ValueError as problem:
        raise ValueError(f"--mirror {place}: is no valid address ({problem}); correct it") from None
    if not host:
        raise ValueError(f"--mirror {place}: names no host; write it as https://host/folder")
    if address.username is not None or address.query or address.fragment:
        raise ValueError(
            "--mirror: addresses with a user name, a password, ? or # are not supported; download the files "
            "by hand, and pass their folder"
        )
    if not place.isascii() or not place.isprintable() or " " in place:
        raise ValueError(f"--mirror {place}: write spaces and letters beyond ASCII as %XX")


def fetch(
    sources: Sequence[Source],
    folder: Path,
    mirror: Mirror | None = None,
    unpacked: int = 0,
    settings: Settings | None = None,
) -> list[Path]:
    """Downloads files into a folder, or finds them in the folder of a mirror, and checks them.

    Existing files with the published size and checksum are kept, and interrupted downloads are resumed. A
    file only gets its name when it is complete and its checksum is correct.

    Args:
        unpacked: bytes that will be needed in `folder` afterwards.

    Returns:
        The path of each file. Files in the folder of a mirror are not copied.

    Raises:
        ValueError: if some files could not be downloaded. The others are complete.
        OSError: if the folder cannot be written, or there is not enough space.
        KeyboardInterrupt: after Ctrl-C.
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
                        f"{source.name} cannot be written to {folder} ({reason}); free space or choose "
                        "another folder with --root, and run the same command again"
                    )
                problems.append(str(problem))
                if len(sources) > 1:  # the others continue
                    tell(f"error: {problem}", sys.stderr)

    _run(work, min(settings.connections, len(sources)), stop)
    if problems:
        raise ValueError(
            f"{len(problems)} of {len(sources)} files could not be downloaded (see above)"
            if len(sources) > 1
            else problems[0]
        )
    return [folder / source.name for source in sources]


def _run(work: Callable[[], None], count: int, stop: threading.Event) -> None:
    """Runs `work` in threads until all have ended.

    Raises:
        KeyboardInterrupt: after telling the threads to stop. A thread that is waiting for a server is not
            waited for; what it has received is already in its file.
    """
    threads = [threading.Thread(target=work, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        while any(thread.is_alive() for thread in threads):
            time.sleep(0.05)
    except KeyboardInterrupt:
        stop.set()
        end = time.monotonic() + _GRACE
        for thread in threads:
            thread.join(max(end - time.monotonic(), 0))
        raise


def _fetch_one(
    source: Source, url: str, folder: Path, settings: Settings, progress: Progress, stop: threading.Event
) -> None:
    path, part = folder / source.name, _part(folder, source)
    if path.exists():
        _check_there(source, path, progress)
        tell(f"{source.name}: exists{_checked(source)}")
        return
    begun = time.monotonic()
    with part.open("ab"):  # creates it if necessary
        pass
    with part.open("r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Refused(
                f"{part}: another process is downloading this file; wait until it has finished"
            ) from None
        if path.exists():  # the process that held the lock has just completed it
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
    """Downloads a file, and a second time if the checksum is wrong: it may have changed during the download.

    Raises:
        Refused: if the checksum is wrong again; also see `Transfer.run`.
    """
    for last in (False, True):
        transfer.run()
        try:
            check_size(source, part.stat().st_size)
        except Refused:
            transfer.discard()
            raise
        wrong = wrong_checksum(source, part, progress)
        if not wrong:
            return
        transfer.discard()
        if last:
            raise Refused(f"{source.name}: downloaded twice from {url}, but {wrong}; {by_hand(source)}")
        tell(f"{source.name}: {wrong}; downloading it again", sys.stderr)


def wrong_checksum(source: Source, path: Path, progress: Progress) -> str:
    """Returns how the checksum of a file differs from the published one, or '' if it does not."""
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
    return f"its {_title(source)} is {digest.hexdigest()} instead of {source.checksum.digits}"


def _check_there(source: Source, path: Path, progress: Progress) -> None:
    """Checks an existing file, which is never changed.

    Raises:
        Refused: if it is not the published file.
    """
    try:
        check_size(source, path.stat().st_size)
    except Refused as problem:
        raise Refused(f"{path} exists, but is not the published file: {problem}") from None
    wrong = wrong_checksum(source, path, progress)
    if wrong:
        raise Refused(f"{path} exists, but {wrong}; remove or rename it to download the published file")


def _check_copy(source: Source, folder: Path) -> Path:
    """Checks a file in the folder of a mirror and returns its path."""
    path = folder / source.name
    if not path.is_file():
        raise FileNotFoundError(f"--mirror {folder}: {source.name} is missing; {source.by_hand}")
    with Progress(source.name, source.size) as progress:
        _check_there(source, path, progress)
    tell(f"{path}: found{_checked(source)}")
    return path


def _check_space(sources: Sequence[Source], folder: Path, unpacked: int) -> None:
    """Checks that there is enough space for the missing files and for unpacking them.

    Raises:
        OSError: if there is not.
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
            f"{megabytes(unpacked)} to unpack), but {megabytes(free)} are free; free space, or choose "
            "a folder on another disk with --root"
        )


def _part(folder: Path, source: Source) -> Path:
    """Returns the path of a file that is not complete yet."""
    return folder / f".{source.name}.part"


def _title(source: Source) -> str:
    """Returns the usual spelling of the algorithm, such as 'SHA-256'."""
    name = source.checksum.algorithm if source.checksum else ""
    return {"sha256": "SHA-256", "sha1": "SHA-1", "md5": "MD5"}.get(name, name)


def _checked(source: Source) -> str:
    return f", {_title(source)} correct" if source.checksum else ", size correct (no checksum is published)"
