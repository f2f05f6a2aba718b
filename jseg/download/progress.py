"""The progress of a transfer: a bar on a terminal, otherwise a line every minute."""

import sys
import time
from types import TracebackType
from typing import TextIO

from tqdm import tqdm

from jseg.progress import is_hidden, progress
from jseg.runtime.command import say

_LINE_EVERY = 60.0  # seconds, if there is no terminal


class Progress:
    """Counts bytes and shows the percentage, the rate and the remaining time.

    Args:
        label: name shown at the beginning.
        total: bytes, or None if unknown.
        position: line on the terminal, from 0, if there are several bars.
    """

    def __init__(self, label: str, total: int | None = None, position: int = 0) -> None:
        self._label, self._total = label, total
        self._start = self._last = time.monotonic()
        self._done = self._first = 0
        self._terminal, self._hidden = sys.stderr.isatty(), is_hidden()
        self._bar = progress(total=total, unit="B", label=label, position=position)

    def begin(self, done: int, total: int | None) -> None:
        """Starts, or restarts, at `done` of `total` bytes."""
        self._done = self._first = done
        self._start = time.monotonic()
        self._total = total
        self._bar.reset(total)
        self._bar.update(done)

    def add(self, count: int) -> None:
        """Adds `count` bytes."""
        self._done += count
        self._bar.update(count)
        if not (self._terminal or self._hidden) and time.monotonic() - self._last >= _LINE_EVERY:
            self._last = time.monotonic()
            say(self.line(), sys.stderr)

    def line(self) -> str:
        """Returns percentage, rate and remaining time as one line."""
        seconds = max(time.monotonic() - self._start, 1e-9)
        rate = (self._done - self._first) / seconds
        line = f"{self._label}: {megabytes(self._done)}"
        if self._total:
            line += f" of {megabytes(self._total)} ({100 * self._done / self._total:.0f} %)"
        line += f", {rate / 1e6:.2f} MB/s"
        if self._total and rate > 0:
            line += f", {tqdm.format_interval((self._total - self._done) / rate)} left"
        return line

    def __enter__(self) -> "Progress":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()


def tell(text: str, stream: TextIO | None = None) -> None:
    """Prints a line like `say`, above the bars."""
    with tqdm.external_write_mode(file=sys.stderr):
        say(text, stream)


def megabytes(count: float) -> str:
    """Formats bytes, for example as '351 MB' or '19.3 GB'."""
    if count >= 10e9:
        return f"{count / 1e9:.1f} GB"
    return f"{count / 1e9:.2f} GB" if count >= 1e9 else f"{count / 1e6:.{0 if count >= 10e6 else 3}f} MB"
