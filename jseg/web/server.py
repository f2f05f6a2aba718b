"""The server: socket, waitress, and shutdown."""

import logging
import secrets
import signal
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import waitress
from waitress import wasyncore

from jseg.web.access import Access, is_loopback, names_of, network_address
from jseg.web.app import Start, create_app
from jseg.web.engine import Engine, Offer
from jseg.web.limits import Limits
from jseg.web.worker import Worker

_THREADS = 16  # more than can wait for the worker, so that some are free for static files
_CONNECTIONS = 64
_IDLE = 30  # seconds until a connection without a request is closed
_HEADER_BYTES = 16 << 10


@dataclass(frozen=True)
class Address:
    """The listening socket, its access control, and the link to the page."""

    listener: socket.socket
    access: Access
    link: str


def bind(host: str, port: int, trusted_hosts: Sequence[str] = ()) -> Address:
    """Opens a listening socket. Beyond loopback, the link contains a new token.

    Args:
        host: address or name.
        port: 0 selects a free port.
        trusted_hosts: further allowed host names of requests.

    Raises:
        OSError: if the address cannot be used. The message says what to do.
    """
    try:
        alone = is_loopback(host)
        family, *_, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(where[:2], family=family, backlog=_CONNECTIONS)
    except OSError as problem:
        raise OSError(
            f"cannot listen on {host} port {port} ({problem.strerror}); choose another --port (0 takes a "
            "free one) or --host"
        ) from None
    token = None if alone else secrets.token_urlsafe(18)
    access = Access((*names_of(host), *(name.lower() for name in trusted_hosts)), token)
    if host in ("0.0.0.0", "::"):
        shown = network_address() or socket.gethostname()
    else:
        shown = f"[{host}]" if ":" in host else host
    link = f"http://{shown}:{listener.getsockname()[1]}/" + (f"#token={token}" if token else "")
    return Address(listener, access, link)


class Server:
    """The web server.

    Args:
        address: the result of `bind`.
        offers: the models.
        start: initial state of the page.
        limits: limits of requests.

    Attributes:
        app: the Flask application.
        engine, worker: compute its answers.
    """

    def __init__(
        self, address: Address, offers: Sequence[Offer], start: Start, limits: Limits | None = None
    ) -> None:
        limits = limits or Limits()
        self.engine = Engine(offers, limits)
        self.worker = Worker(limits.waiting, limits.seconds)
        self.app = create_app(self.engine, self.worker, start, address.access, limits)
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        self._sockets: dict[int, Any] = {}
        self._left: dict[int, Any] = {}
        self._server = waitress.create_server(
            self.app,
            map=self._sockets,
            sockets=[address.listener],
            threads=_THREADS,
            connection_limit=_CONNECTIONS,
            channel_timeout=_IDLE,
            max_request_header_size=_HEADER_BYTES,
            max_request_body_size=limits.image_bytes,
            ident="jseg",
        )

    def load(self, key: str | None = None) -> None:
        """Loads and warms up a model.

        Raises:
            See `Engine.load`.
        """
        self.worker.run(lambda _: self.engine.warm(key))

    def serve(self) -> None:
        """Serves requests in this thread until another thread calls `stop`."""
        self._server.run()
        self._server.task_dispatcher.shutdown()
        wasyncore.close_all(self._left, ignore_all=True)

    def stop(self) -> None:
        """Stops `serve`, and the running computation at its next step."""
        self.worker.close(patience=0)
        self._server.trigger.pull_trigger(self._leave)

    def _leave(self) -> None:
        """Ends waitress's loop, which runs while it has sockets. They stay open for the last responses."""
        self._left.update(self._sockets)
        self._sockets.clear()

    def serve_until_interrupted(self) -> bool:
        """Serves until Ctrl-C or SIGTERM, in the main thread. Returns whether the computation ended in time.

        A second Ctrl-C raises KeyboardInterrupt.
        """
        before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def stop(*_: Any) -> None:
            for number, handler in before.items():
                signal.signal(number, handler)
            threading.Thread(target=self.stop).start()  # the main thread may hold its locks

        for number in before:
            signal.signal(number, stop)
        self.serve()
        return self.worker.close()
