"""Progress bars with the remaining time, in one form for all commands.

A bar is drawn on stderr, and only if that is a terminal. It has no colours. `--quiet` and `--json` hide it.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

_hidden = False


@contextmanager
def hidden() -> Iterator[None]:
    """Within this context, no progress is shown."""
    global _hidden
    before, _hidden = _hidden, True
    try:
        yield
    finally:
        _hidden = before


def is_hidden() -> bool:
    """Whether the user asked for no output but errors."""
    return _hidden


def progress(items: Iterable[Any] | None = None, total: int | None = None, unit: str = "file", label: str = "") -> Any:
    """Returns a progress bar: an iterator over `items`, or without them a context with `update(count)`.

    Args:
        total: number of items, if `items` has no length.
        unit: what is counted, in the singular.
        label: text before the bar.
    """
    return tqdm(items, total=total, unit=unit, desc=label or None, disable=True if _hidden else None)
