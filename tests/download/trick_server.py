"""A faulty HTTP server on the loopback interface, with a list of answers for each path.

An answer is a function of the request's handler. The n-th request of a path gets the n-th answer, and the
last answer is repeated. `requests` holds the path and the headers of all requests.
"""

import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np

from jseg.download import Settings

DATA = np.random.default_rng(0).bytes(100_000)
HASTY = Settings(timeout=0.3, attempts=4, pause=0.01, longest_pause=2.0, connections=3)
CERTIFICATE = Path(__file__).parent / "loopback.pem"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: "Server"

    def do_GET(self) -> None:
        self.server.requests.append((self.path, self.headers))
        answers = self.server.answers[self.path]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        answer(self)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Prints nothing."""

    def head(self, status: int, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def cut(self) -> None:
        """Breaks the connection."""
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)


Answer = Callable[[Handler], None]


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, secure: bool = False) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, list[Answer]] = {}
        self.requests: list[tuple[str, object]] = []
        if secure:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(CERTIFICATE)
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.address = f"http{'s' if secure else ''}://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignores clients that disconnect."""


@contextmanager
def serving(secure: bool = False) -> Iterator[Server]:
    """Runs a server."""
    with Server(secure) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def whole(data: bytes, tag: str | None = '"v1"', ranges: bool = True, **headers: object) -> Answer:
    """The file as a correct server sends it."""

    def answer(handler: Handler) -> None:
        extra = dict(headers) if tag is None else {"ETag": tag, **headers}
        wanted = re.fullmatch(r"bytes=(\d+)-", handler.headers.get("Range", ""))
        known = handler.headers.get("If-Range", tag) == tag
        if ranges and wanted and known:
            first = int(wanted.group(1))
            if first >= len(data):
                handler.head(416, Content_Range=f"bytes */{len(data)}", Content_Length=0, **extra)
                return
            span = f"bytes {first}-{len(data) - 1}/{len(data)}"
            handler.head(206, Content_Range=span, Content_Length=len(data) - first, **extra)
            handler.wfile.write(data[first:])
        else:
            handler.head(200, Content_Length=len(data), **extra)
            handler.wfile.write(data)

    return answer


def broken_off(data: bytes, after: int, tag: str | None = '"v1"') -> Answer:
    """Like `whole`, but breaks the connection after some bytes of the body."""

    def answer(handler: Handler) -> None:
        first = int(re.sub(r"\D", "", handler.headers.get("Range", "0")))
        extra = {} if tag is None else {"ETag": tag}
        if first:
            span = f"bytes {first}-{len(data) - 1}/{len(data)}"
            handler.head(206, Content_Range=span, Content_Length=len(data) - first, **extra)
        else:
            handler.head(200, Content_Length=len(data), **extra)
        handler.wfile.write(data[first : first + after])
        handler.cut()

    return answer


def stalling(data: bytes, after: int, seconds: float) -> Answer:
    """Sends some bytes, and then nothing for a while."""

    def answer(handler: Handler) -> None:
        handler.head(200, Content_Length=len(data), ETag='"v1"')
        handler.wfile.write(data[:after])
        handler.wfile.flush()
        time.sleep(seconds)
        handler.cut()

    return answer


def dripping(data: bytes, every: float, count: int) -> Answer:
    """Sends single bytes with pauses."""

    def answer(handler: Handler) -> None:
        handler.head(200, Content_Length=len(data), ETag='"v1"')
        for number in range(count):
            handler.wfile.write(data[number : number + 1])
            handler.wfile.flush()
            time.sleep(every)
        handler.cut()

    return answer


def status(code: int, body: bytes = b"", **headers: object) -> Answer:
    """An answer without a file."""

    def answer(handler: Handler) -> None:
        handler.head(code, Content_Length=len(body), **headers)
        handler.wfile.write(body)

    return answer


def claiming(data: bytes, code: int = 200, **headers: object) -> Answer:
    """A body with arbitrary headers."""

    def answer(handler: Handler) -> None:
        handler.head(code, **headers)
        handler.wfile.write(data)
        handler.cut()

    return answer


def chunked(data: bytes, end: bool = True) -> Answer:
    """The file without its size, incomplete unless `end`."""

    def answer(handler: Handler) -> None:
        handler.head(200, Transfer_Encoding="chunked")
        for first in range(0, len(data), 20_000):
            piece = data[first : first + 20_000]
            handler.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        if end:
            handler.wfile.write(b"0\r\n\r\n")
        else:
            handler.cut()

    return answer
