"""Progress bars with the remaining time, in one form for all commands.

A bar is drawn on stderr, only if that is a terminal, and only for work of more than a second. It has no
colours. `--quiet` and `--json` hide it.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

_DELAY = 1.0  # seconds
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


def progress(
    items: Iterable[Any] | None = None,
    total: int | None = None,
    unit: str = "file",
    label: str = "",
    position: int | None = None,
) -> Any:
    """Returns a progress bar: an iterator over `items`, or without them a context with `update(count)`.

    Args:
        total: number of items, if `items` has no length.
        unit: what is counted, in the singular, or "B" for bytes.
        label: text before the bar.
        position: line on the terminal, from 0, if there are several bars.
    """
    from tqdm import tqdm

    disable = True if _hidden else None  # None: unless stderr is a terminal
    return tqdm(
        items,
        total=total,
        unit=unit,
        unit_scale=unit == "B",
        desc=label or None,
        position=position,
        disable=disable,
        delay=_DELAY,
    )
