"""Requests to stop: Ctrl-C, a closed terminal, and the signals that clusters send when a job's time is
over."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)


class Interrupted(Exception):
    """Training was stopped by a signal, after saving a checkpoint.

    `exit_code` is 128 + the signal number (130 for SIGINT, 143 for SIGTERM, 138 for SIGUSR1, 129 for SIGHUP).
    """

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.exit_code = 128 + number


class StopSignals:
    """Within `with StopSignals() as stop:`, signals only set `stop.number`, and the loop ends when it checks
    it.

    A second Ctrl-C raises KeyboardInterrupt immediately. A signal that was ignored when the process started
    (SIGHUP under nohup, SIGINT in a background job) stays ignored. Outside the main thread, where Python
    cannot handle signals, this class does nothing.
    """

    def __init__(self) -> None:
        self.number = 0
        self._at_once = ""
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._request)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self.number and isinstance(error, RuntimeError):
            # The signal also reached a compiler, and Jittor reports the compiler's end as an error.
            raise Interrupted(
                self.number,
                f"stopped by {signal.Signals(self.number).name} while an operator was compiled; --resume "
                "auto resumes from the newest checkpoint, if there is one",
            ) from error

    @contextlib.contextmanager
    def at_once(self, message: str) -> Iterator[None]:
        """Within this context, a signal immediately raises `Interrupted(message)`, with `{signal}` replaced
        by its name."""
        self._at_once = message
        try:
            if self.number:
                self._raise()
            yield
        finally:
            self._at_once = ""

    def _request(self, number: int, frame: FrameType | None) -> None:
        if self.number and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.number = self.number or number
        if self._at_once:
            self._raise()

    def _raise(self) -> None:
        raise Interrupted(self.number, self._at_once.format(signal=signal.Signals(self.number).name))
