"""Watches the other hosts of a job from a separate small process on each host: `python host_watcher.py`, with
settings on stdin, started by `watchdog.py`.

A network that fails silently, a host without power and one whose system hangs leave the other ranks waiting:
TCP gives up after a quarter of an hour, and MPI reports nothing before. Therefore the process on the host of
rank 0 and those on the others exchange a byte per second over TCP. If one is silent for too long, the host is
reported and the ranks that lost it are killed. If `mpirun` or its daemon is unable to end after that, because
it waits for the lost host, it is killed too. This process loads nothing but the standard library.
"""

import contextlib
import dataclasses
import json
import os
import select
import signal
import socket
import sys
from pathlib import Path
from time import monotonic, sleep
from typing import Any

if not __package__:  # started as a script, in isolated mode
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from jseg.runtime.processes import descendants, kill, parents_of_all, read_text, running, status

_ALIVE, _FINISHED, _STOP = b".", b"q", b"x"
_SECOND = 1.0  # between two signs of life
_CONNECT = 20.0  # seconds for the connection at the start
_TRY = 3.0  # seconds for one of the addresses
_GRACE = 10.0  # seconds for `mpirun` to end after the ranks of a host were killed
_DAEMONS = ("mpirun", "mpiexec", "orterun", "orterun_wrapper", "orted")
_ENDING = "checkpoints are complete, resume with --resume auto"


@dataclasses.dataclass
class Peer:
    """The connection to the process on another host. `name`: host and ranks, for messages."""

    connection: socket.socket
    name: str
    heard: float

    def send(self, message: bytes) -> None:
        """Never waits: if nothing can be sent, the connection is full or broken, and reading tells."""
        with contextlib.suppress(OSError):
            self.connection.send(message)

    def read(self) -> bytes | None:
        """What has arrived, b"" if nothing has, or None if the connection is closed or broken."""
        try:
            return self.connection.recv(4096) or None
        except BlockingIOError:
            return b""
        except OSError:
            return None

    def look(self, now: float, patience: float) -> str:
        """Reads, and returns "finished", "stop", a sentence if the host counts as lost, or ""."""
        arrived = self.read()
        if arrived is None:
            return f"{self.name} has closed its connection without notice: all its processes were killed"
        if _STOP in arrived:
            return "stop"
        if _FINISHED in arrived:
            return "finished"
        if arrived:
            self.heard = now
        elif now - self.heard > patience:
            return (
                f"{self.name} has been silent for {now - self.heard:.0f} s: its network or power failed, or "
                "its system hangs"
            )
        return ""


def main(settings: dict[str, Any]) -> None:
    """Exchanges signs of life until the ranks of this host have ended or another host is lost."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP):
        # May be sent to every process of a job; the ranks handle them.
        signal.signal(number, signal.SIG_IGN)
    pids, patience = settings["pids"], settings["patience"]
    daemons = {int(fields[1]) for pid in pids if (fields := status(pid))}
    daemons = {pid for pid in daemons if read_text(f"/proc/{pid}/comm").strip() in _DAEMONS}
    peers = _accept(settings) if "listener" in settings else _connect(settings)
    next_sign = monotonic()
    while peers:
        verdicts = {peer.name: peer.look(monotonic(), patience) for peer in peers}
        lost = [text for text in verdicts.values() if text not in ("", "finished")]
        if lost:
            for text in lost:
                if text != "stop":  # the host of rank 0 has reported the reason
                    print(f"error: {settings['name']} ends: {text}; {_ENDING}", file=sys.stderr, flush=True)
            _send(peers, _STOP)
            _end(pids, daemons)
            return
        peers = [peer for peer in peers if not verdicts[peer.name]]
        if not any(running(pid) for pid in pids):
            break
        if monotonic() >= next_sign:
            _send(peers, _ALIVE)
            next_sign = monotonic() + _SECOND
        # Wakes up at once when a connection is closed: mpirun, if it notices too, soon prints nothing more.
        select.select([peer.connection for peer in peers], [], [], max(0.0, next_sign - monotonic()))
    _send(peers, _FINISHED)


def _accept(settings: dict[str, Any]) -> list[Peer]:
    """On the host of rank 0: the connections of the others. One that cannot connect is not watched."""
    listener = socket.socket(fileno=settings["listener"])
    listener.settimeout(_SECOND)
    waiting, peers = dict(settings["hosts"]), []
    deadline = monotonic() + _CONNECT
    while waiting and monotonic() < deadline:
        with contextlib.suppress(OSError):  # nobody has connected, or it was a stranger
            connection, _ = listener.accept()
            connection.settimeout(_TRY)
            key = _exactly(connection, len(settings["token"]) + 8).decode()
            token, number = key[:-8], key[-8:].strip()
            if token == settings["token"] and number in waiting:
                connection.sendall(token.encode())
                connection.setblocking(False)
                peers.append(Peer(connection, waiting.pop(number), monotonic()))
    listener.close()
    return peers


def _connect(settings: dict[str, Any]) -> list[Peer]:
    """On the other hosts: the connection to the host of rank 0, at one of its addresses."""
    token = settings["token"].encode()
    deadline = monotonic() + _CONNECT
    while monotonic() < deadline:
        for address in settings["addresses"]:
            with contextlib.suppress(OSError):
                connection = socket.create_connection((address, settings["port"]), _TRY)
                connection.sendall(token + f"{settings['number']:<8}".encode())
                if _exactly(connection, len(token)) == token:
                    connection.setblocking(False)
                    return [Peer(connection, settings["center"], monotonic())]
        sleep(_SECOND)
    print(
        f"warning: {settings['name']} cannot reach {settings['center']} at "
        f"{', '.join(settings['addresses'])}, TCP port {settings['port']} (a firewall?); the job goes on, "
        "but if a host is lost, nobody will notice",
        file=sys.stderr,
        flush=True,
    )
    return []


def _exactly(connection: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        part = connection.recv(size - len(received))
        if not part:
            raise ConnectionError("closed")
        received += part
    return received


def _send(peers: list[Peer], message: bytes) -> None:
    for peer in peers:
        peer.send(message)


def _end(pids: list[int], daemons: set[int]) -> None:
    """Kills the ranks of this host, and what started them if it does not end after that."""
    # `mpirun` reads the output of its ranks until no process has it open.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    for pid in pids:
        kill(pid)
    deadline = monotonic() + _GRACE
    while any(running(pid) for pid in daemons) and monotonic() < deadline:
        sleep(0.1)
    parents = parents_of_all()
    for pid in daemons:
        kill(pid)
        for child in descendants(pid, parents):  # such as the `ssh` that waits for the lost host
            kill(child)


if __name__ == "__main__":
    # A child of a rank would be killed together with it.
    if os.fork() == 0:
        main(json.load(sys.stdin))
