"""A thread for computations with a short queue.

Jittor is not thread-safe. Models are loaded, used and freed in this thread only, so jobs must return values
without Jittor variables: numbers, text and bytes.
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
"""The lane of uploads, which replace all other jobs of their client."""


class Ticket:
    """The state of a job.

    Args:
        client: name of the client, or None.
        lane: a job replaces older jobs of the same client and lane.
        seconds: time limit.
    """

    def __init__(self, client: str | None, lane: str, seconds: float) -> None:
        self.client, self.lane = client, lane
        self.outcome: Future[Any] = Future()
        self._seconds, self._started = seconds, 0.0
        self._refusal: Refusal | None = None

    def start(self) -> None:
        """Starts the time limit."""
        self._started = time.monotonic()

    def cancel(self, refusal: Refusal) -> None:
        """Ends the job at its next `check`. Its client gets the refusal immediately."""
        self._refusal = refusal
        if not self.outcome.done():
            self.outcome.set_exception(refusal)

    def check(self) -> None:
        """Called by jobs between their steps.

        Raises:
            Refusal: if the job is cancelled or exceeds the time limit.
        """
        if self._refusal is not None:
            raise Refusal(self._refusal.status, self._refusal.sentence)
        if time.monotonic() - self._started > self._seconds:
            raise Refusal(
                503, f"this took longer than {self._seconds:g} s; use fewer words or a smaller image", 60
            )


class Worker:
    """Runs jobs one at a time in its own thread.

    Args:
        waiting: maximum number of jobs in the queue.
        seconds: time limit of a job.
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
        """Runs a job in the worker's thread, waits for it, and returns its value.

        Raises:
            Refusal: if the queue is full (503), a newer request of the client replaces the job (409), the
                server stops (503), or the job raises it.
            ValueError, OSError: if the job raises them.
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
        """Refuses waiting jobs and cancels the running one. Returns whether the thread ended in time."""
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
        """Cancels older jobs that `new` replaces. The lock is held."""
        if new.client is None:
            return

        def replaced(old: Ticket) -> bool:
            return old.client == new.client and (new.lane == UPLOAD or old.lane == new.lane)

        refusal = Refusal(409, "replaced by a newer request")
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
            del ticket, job  # and the uploaded file

    def _work(self, ticket: Ticket, job: Callable[[Ticket], Any]) -> None:
        started = time.monotonic()
        ticket.start()
        value, error = _outcome(job, ticket)
        self._mean += 0.2 * (time.monotonic() - started - self._mean)
        with self._changed:  # otherwise a cancellation could set the outcome at the same time
            if ticket.outcome.done():
                return
            if error is not None:
                ticket.outcome.set_exception(error)
            else:
                ticket.outcome.set_result(value)


def _outcome(job: Callable[[Ticket], Any], ticket: Ticket) -> tuple[Any, Exception | None]:
    """Returns the value or the error of a job.

    The error is a new one, since the traceback of the original refers to the job's Jittor variables, which
    another thread would then free.
    """
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
        return None, Refusal(500, "internal error; see the terminal of `jseg web`")


def _closing() -> Refusal:
    return Refusal(503, "the server is stopping", 10)
