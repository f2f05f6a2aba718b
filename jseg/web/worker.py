"""One thread that computes, and the short queue in front of it.

Jittor is not made for several threads: models are loaded, used and freed in this one alone. What jobs return
must therefore be free of it: numbers, text and bytes.
"""

import math
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from jseg.runtime.command import say
from jseg.runtime.memory import OutOfMemory
from jseg.web.refusal import Refusal

T = TypeVar("T")
UPLOAD = "upload"
"""The lane of new photos, which end whatever else their client has asked for."""


class Ticket:
    """A job's place in the queue.

    Args:
        client: name of the client, None for one without. lane: a newer job of the same client and lane takes
            the place of an older one. seconds: for which the job may run.
    """

    def __init__(self, client: str | None, lane: str, seconds: float) -> None:
        self.client, self.lane = client, lane
        self.outcome: Future[Any] = Future()
        self._seconds, self._started = seconds, 0.0
        self._refusal: Refusal | None = None

    def start(self) -> None:
        """The clock runs."""
        self._started = time.monotonic()

    def cancel(self, refusal: Refusal) -> None:
        """The job ends at its next `check`, and its client is told at once."""
        self._refusal = refusal
        if not self.outcome.done():
            self.outcome.set_exception(refusal)

    def check(self) -> None:
        """Called by a job now and then.

        Raises:
            Refusal: it was cancelled, or takes too long.
        """
        if self._refusal is not None:
            raise Refusal(self._refusal.status, self._refusal.sentence)
        if time.monotonic() - self._started > self._seconds:
            raise Refusal(503, f"this took longer than {self._seconds:g} s; ask for less at a time", 60)


class Worker:
    """Runs jobs one at a time in a thread of its own.

    Args:
        waiting: jobs in the queue; more are refused.
        seconds: for which a job may run.
    """

    def __init__(self, waiting: int, seconds: float) -> None:
        self._waiting, self._seconds = waiting, seconds
        self._queue: deque[tuple[Ticket, Callable[[Ticket], Any]]] = deque()
        self._current: Ticket | None = None
        self._changed = threading.Condition()
        self._closed = False
        self._mean = 0.1  # seconds of a job, for Retry-After
        self._thread = threading.Thread(target=self._loop, name="jseg-web-worker", daemon=True)
        self._thread.start()

    def run(self, job: Callable[[Ticket], T], client: str | None = None, lane: str = "") -> T:
        """Waits for its turn, runs `job` in the thread of the worker, and returns what it returns.

        Raises:
            Refusal: the queue is full (503), a newer request of the client took its place (409), the server
                ends (503), or the job refuses. ValueError, OSError: of the job.
        """
        ticket = Ticket(client, lane, self._seconds)
        with self._changed:
            if self._closed:
                raise _closing()
            self._supersede(ticket)
            if len(self._queue) >= self._waiting:
                wait = max(1, math.ceil(self._mean * len(self._queue)))
                raise Refusal(503, "too many requests are waiting; try again in a moment", wait)
            self._queue.append((ticket, job))
            self._changed.notify()
        return ticket.outcome.result()

    def close(self, patience: float = 10.0) -> bool:
        """Refuses what waits, ends what runs at its next check; whether the thread has ended in time."""
        with self._changed:
            self._closed = True
            for ticket, _ in self._queue:
                ticket.cancel(_closing())
            self._queue.clear()
            if self._current is not None:
                self._current.cancel(_closing())
            self._changed.notify()
        self._thread.join(patience)
        return not self._thread.is_alive()

    def _supersede(self, new: Ticket) -> None:
        """Cancels what the client does not need any more. The lock is held."""
        if new.client is None:
            return

        def replaced(old: Ticket) -> bool:
            return old.client == new.client and (new.lane == UPLOAD or old.lane == new.lane)

        refusal = Refusal(409, "a newer request of this page has taken the place of this one")
        for ticket, _ in [entry for entry in self._queue if replaced(entry[0])]:
            ticket.cancel(refusal)
        self._queue = deque(entry for entry in self._queue if not replaced(entry[0]))
        if self._current is not None and replaced(self._current):
            self._current.cancel(refusal)

    def _loop(self) -> None:
        while True:
            with self._changed:
                self._current = None
                while not self._queue and not self._closed:
                    self._changed.wait()
                if self._closed:
                    return
                ticket, job = self._queue.popleft()
                self._current = ticket
            self._work(ticket, job)
            del ticket, job  # with what was uploaded

    def _work(self, ticket: Ticket, job: Callable[[Ticket], Any]) -> None:
        started = time.monotonic()
        ticket.start()
        value, error = _outcome(job, ticket)
        self._mean += 0.2 * (time.monotonic() - started - self._mean)
        with self._changed:  # a cancellation and this must not both settle the outcome
            if ticket.outcome.done():
                return
            if error is not None:
                ticket.outcome.set_exception(error)
            else:
                ticket.outcome.set_result(value)


def _outcome(job: Callable[[Ticket], Any], ticket: Ticket) -> tuple[Any, Exception | None]:
    """What a job returned, or an error that is made anew: a traceback holds the variables of the job, and
    with them memory of Jittor that another thread would free."""
    try:
        return job(ticket), None
    except Refusal as refusal:
        return None, Refusal(refusal.status, refusal.sentence, refusal.retry_after)
    except OutOfMemory as error:
        return None, Refusal(503, str(error), 60)
    except (ValueError, OSError) as error:
        return None, type(error)(str(error)) if type(error) in (ValueError, OSError) else ValueError(
            str(error)
        )
    except Exception:
        say(traceback.format_exc())
        return None, Refusal(500, "an error inside jseg; the terminal of `jseg web` shows it")


def _closing() -> Refusal:
    return Refusal(503, "the server is being stopped", 10)
