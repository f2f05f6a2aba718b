"""Names in messages: the nearest known one, long lists cut short, and the difference of two sets."""

import difflib
import re
from collections.abc import Iterable


def shortened(names: Iterable[str], limit: int = 5, none: str = "nothing") -> str:
    """'a, b and 3 more' for a message.

    Args:
        names: in the order they are shown.
        limit: how many are shown.
        none: what an empty list reads as.
    """
    names = list(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return (", ".join(names[:limit]) or none) + more


def natural(text: str) -> list[object]:
    """Sorting key that compares numbers by their value: frame2 comes before frame10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", text)]


def difference(expected: Iterable[str], given: Iterable[str]) -> tuple[list[str], list[str]]:
    """The expected names that are missing and the given ones that are unexpected, each sorted."""
    expected, given = set(expected), set(given)
    return sorted(expected - given), sorted(given - expected)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Text to append to an error about an unknown `name`: the nearest known name, or the list of all."""
    names = sorted(str(item) for item in known)
    lowered = {item.lower(): item for item in reversed(names)}
    near = difflib.get_close_matches(str(name).lower(), list(lowered), n=1, cutoff=0.6)
    if near:
        return f"; did you mean {lowered[near[0]]}?"
    return f"; known: {', '.join(names)}" if names else "; nothing is known here"
