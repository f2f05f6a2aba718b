"""Raw requests to the real server: limits of waitress, and headers that Flask's client cannot send."""

import contextlib
import socket

import pytest

LIMIT = 32 << 20


@pytest.fixture
def send(server, address):
    """send(request) -> status and response; "closed" if the connection is closed without a response."""

    def exchange(raw: bytes) -> tuple[str, bytes]:
        response = b""
        with (
            socket.create_connection(address.listener.getsockname(), timeout=20) as connection,
            contextlib.suppress(ConnectionError),
        ):
            connection.sendall(raw)
            while part := connection.recv(65536):
                response += part
        return response.split(b" ", 2)[1].decode() if response else "closed", response

    return exchange


def request(line="GET /api/info", *headers, host="localhost", body=b""):
    lines = [f"{line} HTTP/1.1", *([f"Host: {host}"] if host else []), "Connection: close", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + body


IMAGE = ("POST /api/images", "Content-Type: image/png")


@pytest.mark.parametrize(
    "raw, statuses",
    [
        (request(*IMAGE, f"Content-Length: {LIMIT + 1}"), "413"),
        (request(*IMAGE, "Content-Length: 99999999999999999999"), "413"),
        (request(*IMAGE, "Content-Length: -1"), "400"),
        (request(*IMAGE, "Content-Length: 4", "Content-Length: 5", body=b"abcd"), "400"),
        (request(*IMAGE, "Content-Length: 4", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"), "400"),
        (request(*IMAGE, "Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"), "400 501"),
        (request(*IMAGE, "Transfer-Encoding: chunked", body=b"zz\r\n"), "400"),
        (request("GET /", "X-Long: " + "x" * (17 << 10)), "431 closed"),
        (request("GET /" + "x" * (17 << 10)), "414 431 closed"),
        (request("GET /", host=None), "400"),
        (request("GET /", "Host: evil.example"), "400"),
        (request("GET /", host="localhost\x00.evil.example"), "400"),
        (request("GET /", "Broken\nX-Injected: 1"), "400"),
        (request("GET /", "Host: localhost", " .evil.example", host=None), "400"),
        (request("GET /../../etc/passwd"), "404"),
        (request("GET /static/..%2f..%2fapp.py"), "404"),
        (request("GET /%00"), "404"),
        (request("GET http://evil.example/", host="evil.example"), "400"),
        (request("CONNECT evil.example:443"), "400 404 405"),
        (request("get\t/"), "400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64) + b"\r\n\r\n", "400"),
    ],
    ids=lambda value: value[:60].decode("latin-1").split("\r")[0] if isinstance(value, bytes) else "",
)
def test_raw_requests(send, raw, statuses):
    """Each is refused, and the next request is answered."""
    status, response = send(raw)
    assert status in statuses.split(), response[:300]
    assert b"waitress" not in response.lower().partition(b"\r\n\r\n")[0] and b"Traceback" not in response
    assert send(request())[0] == "200"


def test_a_body_that_grows_beyond_the_limit_is_cut_off(server, address):
    """Chunks have no total length in advance, so the server counts."""
    with socket.create_connection(address.listener.getsockname(), timeout=20) as connection:
        connection.sendall(request(*IMAGE, "Transfer-Encoding: chunked"))
        chunk = b"100000\r\n" + bytes(1 << 20) + b"\r\n"
        with pytest.raises(ConnectionError):
            for _ in range(4 * LIMIT >> 20):
                connection.sendall(chunk)
