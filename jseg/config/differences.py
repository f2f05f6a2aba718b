"""Compares configs key by key."""

from collections.abc import Mapping
from typing import Any, NamedTuple

MISSING = "(missing)"


class Difference(NamedTuple):
    """A key with dots whose values differ. A value that is missing on one side is `MISSING`."""

    key: str
    base: Any
    own: Any


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Joins nested keys with dots. Tuples become lists, so that both kinds of sequence are equal."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            found.update(flat(value, f"{prefix}{key}."))
        else:
            found[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return found


def differences(base: Mapping[str, Any], own: Mapping[str, Any]) -> list[Difference]:
    """Returns the keys in which two configs differ, sorted."""
    first, second = flat(base), flat(own)
    return [
        Difference(key, first.get(key, MISSING), second.get(key, MISSING))
        for key in sorted({*first, *second})
        if first.get(key, MISSING) != second.get(key, MISSING)
    ]
