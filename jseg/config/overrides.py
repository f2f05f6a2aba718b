"""Overrides from the command line: `--set model.backbone.num_regions=4`."""

import ast
import re
from collections.abc import Sequence
from typing import Any

from jseg.names import did_you_mean

_WORDS = {"true": True, "false": False, "none": None, "null": None}


def apply_overrides(values: dict[str, Any], overrides: Sequence[str]) -> None:
    """Writes each "dotted.key=value" into the nested dict `values`, in place.

    Every part of the path but the last must exist (numbers index lists). The last part may be new only where
    it is checked later: at the top level, in a plain part, or in a dict with `type`, whose constructor is
    known.

    Raises:
        ValueError: if there is no "=", a path does not exist (the message suggests the nearest key), or a
            list, dict or string is malformed.
    """
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator or not key.strip():
            raise ValueError(
                f"--set {override}: expected key=value, for example --set model.backbone.num_regions=4"
            )
        _assign(values, key.strip(), parse_value(text.strip(), override))


def parse_value(text: str, override: str = "") -> Any:
    """Parses a Python literal. `true`, `false` and `none` are accepted in any case; anything else is a
    string.

    Raises:
        ValueError: if the text begins like a list, tuple, dict or quoted string but is not a valid one.
    """
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        called = re.match(r"(dict|list|tuple|set)\(", text)
        if called:
            written = "{'key': value}" if called[1] == "dict" else "[value, value]"
            raise ValueError(
                f"--set {override or text}: write {written}, since {called[1]}(...) is not a Python literal"
            ) from None
        if text[:1] in tuple("[({'\""):
            raise ValueError(
                f"--set {override or text}: {text} is not a Python literal; check brackets and quotes "
                "(and quote the whole argument for the shell)"
            ) from None
        return text


def _assign(values: dict[str, Any], key: str, value: Any) -> None:
    target: Any = values
    parts = key.split(".")
    for depth, part in enumerate(parts):
        path = ".".join(parts[: depth + 1])
        last = depth == len(parts) - 1
        if isinstance(target, list):
            if not part.isdigit() or int(part) >= len(target):
                raise ValueError(
                    f"--set {key}: {path} does not exist; use a number from 0 to {len(target) - 1}"
                )
            index: Any = int(part)
        elif isinstance(target, dict):
            index = part
            if part not in target and not last:
                raise ValueError(f"--set {key}: {path} does not exist{did_you_mean(part, target)}")
        else:
            raise ValueError(f"--set {key}: {'.'.join(parts[:depth])} is {target!r}, which has no keys")
        if last:
            target[index] = value
        else:
            target = target[index]
