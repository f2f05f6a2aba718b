"""One file over HTTP: resumed where it broke off, attempted again after what passes."""

import http.client
import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, OpenerDirector, Request, build_opener

from jseg import __version__
from jseg.download.answers import (
    Refused,
    StartOver,
    TryAgain,
    accept,
    by_hand,
    check_beginning,
    judge_connection,
    judge_status,
    largest,
    validator,
)
from jseg.download.progress import Progress, megabytes, tell
from jseg.download.sources import Source

_PIECE = 1 << 20  # bytes read at most at a time
_PROGRESS = 1 << 20  # bytes after which an attempt counts as one that got on
_SLOWEST = 256  # bytes per second, below which a connection counts as stalled


@dataclass(frozen=True)
class Settings:
    """How patient a transfer is.

    Attributes:
        timeout: seconds without data, after which a connection is given up.
        attempts: in a row without getting on, after which the file is given up.
        pause: seconds before the second attempt; doubled with each further one.
        longest_pause: seconds that are waited at most, also where a server asks for more.
        connections: files that are transferred at a time.
    """

    timeout: float = 30.0
    attempts: int = 6
    pause: float = 1.0
    longest_pause: float = 300.0
    connections: int = 3


class Stopped(Exception):
    """The user has interrupted the transfers."""


class _State(NamedTuple):
    """What is known of a file that is partly there: from which address, which version, and its size."""

    url: str = ""
    version: str = ""
    total: int | None = None


class _OnlyToHttps(HTTPRedirectHandler):
    """Follows redirects to https addresses alone."""

    def redirect_request(
        self, req: Request, fp: object, code: int, msg: str, headers: object, newurl: str
    ) -> Request | None:
        if urlsplit(newurl).scheme != "https":
            raise Refused(
                f"{req.full_url} redirects to {newurl}, which is not https and was not followed; --mirror "
                "takes another address"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


class Transfer:
    """The transfer of one file to `part`, a path that is not its final one.

    Args:
        source: what is published about the file.
        url: http(s) address: the official one, or that of a mirror.
        file: open for reading and writing, with what there is of the file; at most one process has it.
        part: its path.
        stop: set to end the transfer soon.
    """

    def __init__(
        self,
        source: Source,
        url: str,
        file: BinaryIO,
        part: Path,
        settings: Settings,
        progress: Progress,
        stop: threading.Event,
    ) -> None:
        self._source, self._url, self._file, self._settings = source, url, file, settings
        self._progress, self._stop = progress, stop
        self._notes = part.with_name(f"{part.name}.json")
        # Proxies are those of the environment, http_proxy and no_proxy among others.
        self._opener: OpenerDirector = build_opener(_OnlyToHttps())

    def run(self) -> None:
        """Completes the file.

        Raises:
            Refused: it cannot be had; says why and what to do. Stopped. OSError: the disk.
        """
        there = f", {megabytes(self._size())} are there" if self._size() else ""
        tell(f"{self._source.name}: from {self._url}{there}", sys.stderr)
        failures = 0
        while True:
            before = self._size()
            try:
                self._attempt()
                return
            except TryAgain as reason:
                if isinstance(reason, StartOver):
                    self.discard()
                failures = 1 if self._size() - before >= _PROGRESS else failures + 1
                self._wait(reason, failures)

    def discard(self) -> None:
        """Forgets what there is of the file."""
        self._file.seek(0)
        self._file.truncate()
        self.forget()

    def forget(self) -> None:
        """Removes the notes about a file that is not there any more, or complete."""
        self._notes.unlink(missing_ok=True)

    def _wait(self, reason: TryAgain, failures: int) -> None:
        """Waits before the next attempt.

        Raises:
            Refused: there were enough attempts, or the server asks for too much patience. Stopped.
        """
        name, settings = self._source.name, self._settings
        if failures >= settings.attempts:
            there = self._size()
            resumed = f"the same command resumes at {megabytes(there)}; " if there else ""
            raise Refused(
                f"{name}: {reason}, after {failures} attempts in a row at {self._url}; {resumed}"
                f"{by_hand(self._source)}"
            )
        if reason.wait is not None and reason.wait > settings.longest_pause:
            raise Refused(
                f"{name}: {reason}, and asks to come back in {reason.wait:.0f} s; run the same command then"
            )
        doubled = min(settings.pause * 2 ** (failures - 1), settings.longest_pause)
        pause = doubled if reason.wait is None else reason.wait
        tell(f"{name}: {reason}; attempt {failures + 1} of {settings.attempts} in {pause:g} s", sys.stderr)
        if self._stop.wait(pause):
            raise Stopped

    def _attempt(self) -> None:
        """One request, for what is missing; returns once the file is complete."""
        state = self._state()
        offset = self._size()
        if offset and state.url != self._url and self._source.checksum is None:
            self.discard()  # parts of two servers, and no way to tell whether they belong together
            offset = 0
        whole = self._source.size if self._source.exact else state.total
        if offset and whole is not None:
            if offset == whole:
                return
            if offset > whole:
                raise StartOver(f"{offset:,} bytes are there, of {whole:,}; starting over")
        request = Request(
            self._url, headers={"User-Agent": f"jseg/{__version__}", "Accept-Encoding": "identity"}
        )
        if offset:
            request.add_header("Range", f"bytes={offset}-")
            if state.version and state.url == self._url:
                request.add_header("If-Range", state.version)
        try:
            response = self._opener.open(request, timeout=self._settings.timeout)
        except HTTPError as error:
            with error:
                raise judge_status(self._source, self._url, error, offset) from None
        except (OSError, http.client.HTTPException) as error:
            raise judge_connection(self._source, error, self._settings.timeout) from error
        with response:
            accepted = accept(self._source, response.status, response.headers, offset)
            if accepted.offset < offset:
                self.discard()
            if accepted.offset == 0:
                self._keep(_State(self._url, validator(response.headers), accepted.total))
            self._progress.begin(accepted.offset, accepted.total)
            self._receive(response, accepted.offset, accepted.total)

    def _receive(self, response: http.client.HTTPResponse, done: int, total: int | None) -> None:
        """Appends the body; `done` bytes are there."""
        self._file.seek(done)
        try:
            for piece in self._pieces(response):
                if done == 0:
                    check_beginning(self._source, piece)
                done += len(piece)
                if done > largest(self._source):
                    self.discard()
                    raise Refused(
                        f"{self._source.name}: the server sends more than the published "
                        f"{self._source.size:,} bytes; {by_hand(self._source)}"
                    )
                self._file.write(piece)
                self._progress.add(len(piece))
        finally:
            self._file.flush()
        whole = total if total is not None else self._source.size if self._source.exact else done
        if done < whole:
            raise TryAgain(f"the connection broke off at {done:,} of {whole:,} bytes")
        self._keep(self._state()._replace(total=done))

    def _pieces(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        """What comes, until nothing more does.

        Raises:
            TryAgain: it stalls or breaks off. Stopped.
        """
        timeout = self._settings.timeout
        mark, since = time.monotonic(), 0
        while True:
            try:
                piece = response.read1(_PIECE)
            except (OSError, http.client.HTTPException) as error:
                raise judge_connection(self._source, error, timeout) from error
            if not piece:
                return
            if self._stop.is_set():
                raise Stopped
            yield piece
            since += len(piece)
            if (seconds := time.monotonic() - mark) >= timeout:
                if since < _SLOWEST * seconds:
                    raise TryAgain(f"less than {_SLOWEST} bytes per second came for {seconds:.3g} s")
                mark, since = time.monotonic(), 0

    def _size(self) -> int:
        self._file.flush()
        return self._file.seek(0, 2)

    def _state(self) -> _State:
        with suppress(OSError, ValueError, TypeError):
            url, version, total = json.loads(self._notes.read_text(encoding="utf-8"))
            return _State(str(url), str(version), None if total is None else int(total))
        return _State()

    def _keep(self, state: _State) -> None:
        self._notes.write_text(json.dumps(state), encoding="utf-8")
