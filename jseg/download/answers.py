"""What an HTTP server answered: whether to take it, to try again, or to give up, and why."""

import email.utils
import re
import socket
import ssl
import time
from http.client import HTTPException, HTTPMessage
from typing import NamedTuple
from urllib.error import HTTPError, URLError

from jseg.download.sources import Source

_TOLERANCE = 0.1  # of a size that is not published to the byte
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-(\d+)|\*)/(\d+|\*)")
_AGAIN = (408, 425, 429, 500, 502, 503, 504)
_GONE = (404, 410)


class Refused(ValueError):
    """A transfer that another attempt would not help; the sentence says what to do."""


class TryAgain(Exception):
    """A transfer that broke off and may go on. `wait`: seconds that the server asks for, or None."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class StartOver(TryAgain):
    """As `TryAgain`, but what there is of the file is of no use."""


class Accepted(NamedTuple):
    """A body that is taken: it begins at byte `offset` of a file of `total` bytes, None if not known."""

    offset: int
    total: int | None


def accept(source: Source, status: int, headers: HTTPMessage, offset: int) -> Accepted:
    """Judges the head of a successful answer.

    Args:
        offset: first byte that was asked for.

    Raises:
        Refused: it is another file. StartOver: it is another part of the file.
    """
    if headers.get_content_type() in ("text/html", "application/xhtml+xml"):
        raise Refused(_web_page(source))
    if headers.get("Content-Encoding", "identity") != "identity":
        raise Refused(
            f"{source.name}: the server sends it compressed as {headers['Content-Encoding']}, although it "
            "was asked not to; use another server with --mirror"
        )
    length = _number(headers.get("Content-Length"))
    if status == 206:
        first, total = _range(headers)
        if first != offset:
            part = (
                "a part of the file without saying which"
                if first is None
                else f"the file from byte {first:,}"
            )
            raise StartOver(f"the server sent {part}, asked for it from byte {offset:,}; starting over")
        if total is None and length is not None:
            total = offset + length
    elif status == 200:
        offset, total = 0, length
    else:
        raise Refused(f"{source.name}: {source.url} answers {status}, which is no file; {source.by_hand}")
    check_size(source, total)
    return Accepted(offset, total)


def check_size(source: Source, size: int | None) -> None:
    """Compares an announced or a real size with the published one.

    Raises:
        Refused: it is another.
    """
    if size is None:
        return
    allowed = 0 if source.exact else _TOLERANCE * source.size
    if abs(size - source.size) > allowed:
        about = "" if source.exact else "about "
        raise Refused(
            f"{source.name}: {size:,} bytes instead of the published {about}{source.size:,}: this is another "
            f"file; {source.by_hand}"
        )


def largest(source: Source) -> int:
    """The bytes that a file may have at most."""
    return source.size if source.exact else int(source.size * (1 + _TOLERANCE))


def check_beginning(source: Source, piece: bytes) -> None:
    """None of the published files begins like a web page.

    Raises:
        Refused: this one does.
    """
    if piece.lstrip()[:1] == b"<":
        raise Refused(_web_page(source))


def judge_status(source: Source, url: str, error: HTTPError, offset: int) -> Exception:
    """The exception for an answer that is no success.

    Args:
        offset: first byte that was asked for.
    """
    reason = str(error.reason)
    status = f"{error.code} {reason.splitlines()[0] if reason else ''}".strip()
    if error.code == 416:
        match = _CONTENT_RANGE.fullmatch(error.headers.get("Content-Range", ""))
        end = "" if not match or match.group(3) == "*" else f" of a file of {int(match.group(3)):,} bytes"
        return StartOver(f"the server has no byte {offset:,}{end}; starting over")
    if error.code in _AGAIN:
        return TryAgain(f"the server answers {status}", _retry_after(error.headers.get("Retry-After")))
    if error.code in _GONE:
        return Refused(f"{source.name}: {url} answers {status}: the address is gone; {by_hand(source)}")
    if 300 <= error.code < 400:
        what = "leads in a circle" if "infinite loop" in reason else f"cannot be followed ({status})"
        return Refused(f"{source.name}: the redirect of {url} {what}; {by_hand(source)}")
    return Refused(f"{source.name}: {url} answers {status}: access is denied; {by_hand(source)}")


def judge_connection(source: Source, error: OSError | HTTPException, timeout: float) -> Exception:
    """The exception for a connection that failed."""
    reason = error.reason if isinstance(error, URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        return Refused(
            f"{source.name}: the certificate of the server is not trusted ({reason.verify_message}); if a "
            "proxy of your own network signs it, name its certificate in the variable SSL_CERT_FILE"
        )
    if isinstance(reason, TimeoutError):
        return TryAgain(f"nothing came for {timeout:g} s")
    if isinstance(reason, socket.gaierror):
        return TryAgain(
            "the name of the server is not known (no network, or a proxy that http_proxy and https_proxy "
            "do not name)"
        )
    text = str(reason) or type(reason).__name__
    return TryAgain(f"the connection failed ({text.splitlines()[0]})")


def by_hand(source: Source) -> str:
    """What to do where an address does not work."""
    return (
        f"{source.by_hand}; a file {source.name} in the folder of --root is taken, and --mirror takes the "
        "address or folder of such files"
    )


def validator(headers: HTTPMessage) -> str:
    """What names this version of a file in `If-Range`: a strong ETag, else the time of its change, or ''."""
    tag = headers.get("ETag", "")
    return tag if tag.startswith('"') else headers.get("Last-Modified", "")


def _web_page(source: Source) -> str:
    return (
        f"{source.name}: the server sent a web page instead of the file, as login pages and filters of "
        f"networks do; open {source.url} in a browser to see it; {by_hand(source)}"
    )


def _range(headers: HTTPMessage) -> tuple[int | None, int | None]:
    """First byte and size of the whole file by `Content-Range`."""
    match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
    if match is None:
        return None, None
    return _number(match.group(1)), _number(match.group(3))


def _retry_after(text: str | None) -> float | None:
    """Seconds, from a number or a date."""
    if text is None:
        return None
    if text.strip().isdecimal():
        return float(text)
    try:
        return max(email.utils.parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
    except (TypeError, ValueError):
        return None


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() else None
