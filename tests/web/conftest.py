"""A server with the small model on a free port, for all tests of this folder."""

import sys
import threading
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))


@pytest.fixture(scope="session")
def address():
    """A listening socket."""
    pytest.importorskip("flask", reason="the extra 'web' is not installed")
    pytest.importorskip("waitress", reason="the extra 'web' is not installed")
    from jseg.web.server import bind

    bound = bind("127.0.0.1", 0)
    with bound.listener:
        yield bound


@pytest.fixture(scope="session")
def server(address):
    """A server in a thread of this process, with both models loaded."""
    from jseg.cli.web_demo import offers, parse_args, start
    from jseg.web.server import Server

    args = parse_args([])
    running = Server(address, offers(args), start(args))
    running.load("a")
    running.load("b")
    thread = threading.Thread(target=running.serve)
    thread.start()
    yield running
    running.stop()
    assert running.worker.close()
    thread.join(10)
    assert not thread.is_alive()
