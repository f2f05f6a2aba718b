"""Helpers for names in messages: the nearest known name, shortened lists, and differences of two sets."""

import difflib
import re
from collections.abc import Iterable


def shortened(names: Iterable[str], limit: int = 5, none: str = "nothing") -> str:
    """Formats names for a message, as in 'a, b and 3 more'.

    Args:
        names: names in the order in which they are shown.
        limit: number of names shown.
        none: text for an empty list.
    """
    names = list(names)
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return (", ".join(names[:limit]) or none) + more


def natural(text: str) -> list[object]:
    """Sorting key that compares numbers by their value: frame2 comes before frame10."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", text)]


def difference(expected: Iterable[str], given: Iterable[str]) -> tuple[list[str], list[str]]:
    """Returns the expected names that are missing and the given names that are unexpected, each sorted."""
    expected, given = set(expected), set(given)
    return sorted(expected - given), sorted(given - expected)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Returns text to append to an error about an unknown `name`: the nearest known name, or all of them."""
    names = sorted(str(item) for item in known)
    lowered = {item.lower(): item for item in reversed(names)}
    near = difflib.get_close_matches(str(name).lower(), list(lowered), n=1, cutoff=0.6)
    if near:
        return f"; did you mean {lowered[near[0]]}?"
    return f"; known: {', '.join(names)}" if names else "; no names are defined here"
