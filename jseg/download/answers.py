"""Decides what to do with an answer of an HTTP server: accept it, try again, or refuse it with a reason."""

import email.utils
import re
import socket
import ssl
import time
from http.client import BadStatusLine, HTTPException, HTTPMessage, RemoteDisconnected
from typing import NamedTuple
from urllib.error import HTTPError, URLError

from jseg.download.sources import Source

_TOLERANCE = 0.1  # of a size that is not published to the byte
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")
_AGAIN = (408, 425, 429, 500, 502, 503, 504)
_GONE = (404, 410)
_DIGITS = 18  # of a number of bytes


class Refused(ValueError):
    """A transfer for which another attempt would not help. The message says what to do."""


class TryAgain(Exception):
    """A transfer that failed and may succeed later. `wait`: seconds requested by the server, or None."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class StartOver(TryAgain):
    """Like `TryAgain`, but the part of the file that was received cannot be used."""


class Accepted(NamedTuple):
    """An accepted body. It begins at byte `offset` of a file of `total` bytes (None if unknown)."""

    offset: int
    total: int | None


def accept(source: Source, status: int, headers: HTTPMessage, offset: int) -> Accepted:
    """Checks the status and headers of a successful answer.

    Args:
        offset: first byte that was requested.

    Raises:
        Refused: if it is another file. StartOver: if it is another part of the file.
    """
    if headers.get_content_type() in ("text/html", "application/xhtml+xml"):
        raise Refused(_web_page(source))
    if headers.get("Content-Encoding", "identity") != "identity":
        raise Refused(
            f"{source.name}: the server compresses it with {headers['Content-Encoding']}, which was "
            "not requested; use another server with --mirror"
        )
    length = _number(headers.get("Content-Length"))
    if status == 206:
        first, total = _range(headers)
        if first != offset:
            part = "an unspecified part of the file" if first is None else f"the file from byte {first:,}"
            raise StartOver(f"the server sent {part} instead of byte {offset:,}; starting over")
        if total is None and length is not None:
            total = offset + length
    elif status == 200:
        offset, total = 0, length
    else:
        raise Refused(
            f"{source.name}: {source.url} answers with status {status} and no file; {source.by_hand}"
        )
    check_size(source, total)
    return Accepted(offset, total)


def check_size(source: Source, size: int | None) -> None:
    """Compares a size with the published size.

    Raises:
        Refused: if it differs.
    """
    if size is None:
        return
    allowed = 0 if source.exact else _TOLERANCE * source.size
    if abs(size - source.size) > allowed:
        about = "" if source.exact else "about "
        raise Refused(
            f"{source.name}: {size:,} bytes instead of the published {about}{source.size:,}, so this is "
            f"another file; {source.by_hand}"
        )


def largest(source: Source) -> int:
    """Returns the largest accepted size in bytes."""
    return source.size if source.exact else int(source.size * (1 + _TOLERANCE))


def check_beginning(source: Source, piece: bytes) -> None:
    """Checks that the file does not begin like a web page. None of the published files does.

    Raises:
        Refused: if it does.
    """
    if piece.lstrip()[:1] == b"<":
        raise Refused(_web_page(source))


def judge_status(source: Source, url: str, error: HTTPError, offset: int) -> Exception:
    """Returns the exception for an unsuccessful answer.

    Args:
        offset: first byte that was requested.
    """
    reason = _first_line(str(error.reason))
    status = f"{error.code} {reason}".strip()
    if error.code == 416:
        match = _CONTENT_RANGE.fullmatch(error.headers.get("Content-Range", ""))
        end = "" if not match or match.group(3) == "*" else f" of a file of {int(match.group(3)):,} bytes"
        return StartOver(f"the server cannot continue at byte {offset:,}{end}; starting over")
    if error.code in _AGAIN:
        return TryAgain(f"the server answered {status}", _retry_after(error.headers.get("Retry-After")))
    if error.code in _GONE:
        return Refused(f"{source.name}: {url} no longer exists ({status}); {by_hand(source)}")
    if 300 <= error.code < 400:
        what = "redirects in a loop" if "infinite loop" in reason else f"has an invalid redirect ({status})"
        return Refused(f"{source.name}: {url} {what}; {by_hand(source)}")
    return Refused(f"{source.name}: access to {url} is denied ({status}); {by_hand(source)}")


def judge_connection(source: Source, error: OSError | HTTPException, timeout: float) -> Exception:
    """Returns the exception for a failed connection."""
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        return Refused(
            f"{source.name}: the certificate of the server is not trusted ({reason.verify_message}); if your "
            "network uses its own proxy certificate, set SSL_CERT_FILE to that certificate"
        )
    if isinstance(reason, TimeoutError):
        return TryAgain(f"no data for {timeout:g} s")
    if isinstance(reason, socket.gaierror):
        return TryAgain(
            "the server's name cannot be resolved (no network, or a proxy that is not set in http_proxy and "
            "https_proxy)"
        )
    if isinstance(reason, BadStatusLine) and not isinstance(reason, RemoteDisconnected):
        return TryAgain("the answer is not HTTP")
    return TryAgain(f"the connection failed ({_first_line(str(reason)) or type(reason).__name__})")


def by_hand(source: Source) -> str:
    """Returns what to do if an address does not work."""
    return (
        f"{source.by_hand}; put {source.name} into the folder of --root, or pass its address or folder with "
        "--mirror"
    )


def validator(headers: HTTPMessage) -> str:
    """Returns the value for `If-Range`: a strong ETag, else the time of the last change, else ''."""
    tag = headers.get("ETag", "")
    return tag if tag.startswith('"') else headers.get("Last-Modified", "")


def _web_page(source: Source) -> str:
    return (
        f"{source.name}: the server sent a web page instead of the file, for example a login page; open "
        f"{source.url} in a browser to see it; {by_hand(source)}"
    )


def _range(headers: HTTPMessage) -> tuple[int | None, int | None]:
    """Returns the first byte and the size of the whole file from `Content-Range`."""
    match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
    if match is None:
        return None, None
    return _number(match.group(1)), _number(match.group(3))


def _retry_after(text: str | None) -> float | None:
    """Returns seconds from a number or a date."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(email.utils.parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
    except (TypeError, ValueError):
        return None


def _first_line(text: str) -> str:
    """Returns the first line without what a terminal may take for commands."""
    first = next(iter(text.strip().splitlines()), "")
    return "".join(sign for sign in first if sign.isprintable())


def _number(text: str | None) -> int | None:
    """Returns a number of bytes, or None if the text is no such number."""
    return int(text) if text is not None and text.isdecimal() and len(text) <= _DIGITS else None
