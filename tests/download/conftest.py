"""Servers on the loopback interface, and sources that point to them."""

import hashlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from trick_server import CERTIFICATE, DATA, Server, serving

from jseg.download import Checksum, Source


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as running:
        yield running


@pytest.fixture
def secure_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """An https server with a certificate that this test trusts."""
    monkeypatch.setenv("SSL_CERT_FILE", str(CERTIFICATE))
    with serving(secure=True) as running:
        yield running


@pytest.fixture
def source(server: Server) -> Callable[..., Source]:
    """source(name, data, ...) -> a file of the server with its size and SHA-256."""

    def make(
        name: str = "file.zip", data: bytes = DATA, exact: bool = True, checksum: bool = True, size: int = 0
    ) -> Source:
        return Source(
            name,
            f"{server.address}/{name}",
            size or len(data),
            exact,
            Checksum("sha256", hashlib.sha256(data).hexdigest()) if checksum else None,
            "this test",
            "look for a copy",
        )

    return make
