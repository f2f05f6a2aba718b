"""Downloads one file over HTTP: resumes interrupted transfers and retries temporary failures."""

import http.client
import json
import ssl
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
from urllib.request import HTTPRedirectHandler, HTTPSHandler, OpenerDirector, Request, build_opener

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
from jseg.progress import is_hidden

_PIECE = 1 << 20  # bytes read at most at a time
_PROGRESS = 1 << 20  # bytes after which an attempt counts as successful
_SLOWEST = 256  # bytes per second; slower connections count as stalled


@dataclass(frozen=True)
class Settings:
    """Timeouts and retries.

    Attributes:
        timeout: seconds without data after which a connection is closed.
        attempts: unsuccessful attempts in a row after which a file is given up.
        pause: seconds before the second attempt, doubled for each further attempt.
        longest_pause: maximum of seconds between attempts. A server that asks for more ends the transfer.
        connections: number of files that are downloaded at a time.
    """

    timeout: float = 30.0
    attempts: int = 6
    pause: float = 1.0
    longest_pause: float = 300.0
    connections: int = 3


class Stopped(Exception):
    """The user interrupted the transfers."""


class _State(NamedTuple):
    """What is known about a partly downloaded file: its address, version and size."""

    url: str = ""
    version: str = ""
    total: int | None = None


class _OnlyToHttps(HTTPRedirectHandler):
    """Follows redirects only to https addresses."""

    def redirect_request(
        self, req: Request, fp: object, code: int, msg: str, headers: object, newurl: str
    ) -> Request | None:
        if urlsplit(newurl).scheme != "https":
            raise Refused(
                f"{req.full_url} redirects to {newurl}, which is not https, so it was not followed; pass "
                "another address with --mirror"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


class Transfer:
    """The transfer of one file to a temporary path.

    Args:
        source: published facts about the file.
        url: http(s) address, official or of a mirror.
        file: the temporary file, open for reading and writing and locked by this process.
        part: path of the temporary file.
        stop: ends the transfer when set.
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
        # Uses the proxies of the environment (http_proxy, no_proxy and others).
        # With a context of its own, since Jittor switches off the check of certificates in its process.
        secure = HTTPSHandler(context=ssl.create_default_context())
        self._opener: OpenerDirector = build_opener(secure, _OnlyToHttps())

    def run(self) -> None:
        """Completes the file.

        Raises:
            Refused: if it cannot be downloaded. Stopped: if the user interrupted it. OSError: on disk errors.
        """
        there = f", resuming at {megabytes(self._size())}" if self._size() else ""
        if not is_hidden():
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
        """Discards what was received."""
        self._file.seek(0)
        self._file.truncate()
        self.forget()

    def forget(self) -> None:
        """Removes the notes about the file."""
        self._notes.unlink(missing_ok=True)

    def _wait(self, reason: TryAgain, failures: int) -> None:
        """Waits before the next attempt.

        Raises:
            Refused: if there were too many attempts, or the server asks for too long a pause.
            Stopped: if the user interrupted it.
        """
        name, settings = self._source.name, self._settings
        if failures >= settings.attempts:
            there = self._size()
            resumed = f"the same command will resume at {megabytes(there)}; " if there else ""
            raise Refused(
                f"{name}: {reason}; {failures} attempts in a row at {self._url} have failed; {resumed}"
                f"{by_hand(self._source)}"
            )
        if reason.wait is not None and reason.wait > settings.longest_pause:
            raise Refused(
                f"{name}: {reason} and asks to wait for {reason.wait:.0f} s; run the same command again then"
            )
        doubled = min(settings.pause * 2 ** (failures - 1), settings.longest_pause)
        pause = doubled if reason.wait is None else reason.wait
        tell(f"{name}: {reason}; attempt {failures + 1} of {settings.attempts} in {pause:g} s", sys.stderr)
        if self._stop.wait(pause):
            raise Stopped

    def _attempt(self) -> None:
        """Requests the missing part, and returns when the file is complete."""
        state = self._state()
        offset = self._size()
        if offset and state.url != self._url and self._source.checksum is None:
            self.discard()  # from another server, and no checksum would show that they differ
            offset = 0
        whole = self._source.size if self._source.exact else state.total
        if offset and whole is not None:
            if offset == whole:
                return
            if offset > whole:
                raise StartOver(f"there are {offset:,} bytes instead of {whole:,}; starting over")
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
        except Refused:
            raise
        except ValueError as problem:  # urllib cannot read the address
            raise Refused(
                f"{self._source.name}: {self._url} redirects to an invalid address ({problem}); "
                f"{by_hand(self._source)}"
            ) from None
        with response:
            accepted = accept(self._source, response.status, response.headers, offset)
            if accepted.offset < offset:
                self.discard()
            if accepted.offset == 0:
                self._keep(_State(self._url, validator(response.headers), accepted.total))
            self._progress.begin(accepted.offset, accepted.total)
            self._receive(response, accepted.offset, accepted.total)

    def _receive(self, response: http.client.HTTPResponse, done: int, total: int | None) -> None:
        """Appends the body to the `done` bytes that were received before."""
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
            raise TryAgain(f"the connection broke at {done:,} of {whole:,} bytes")
        self._keep(self._state()._replace(total=done))

    def _pieces(self, response: http.client.HTTPResponse) -> Iterator[bytes]:
        """Yields the body as it arrives.

        Raises:
            TryAgain: if the connection stalls or breaks. Stopped: if the user interrupted it.
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
                    raise TryAgain(f"less than {_SLOWEST} bytes per second for {seconds:.3g} s")
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
