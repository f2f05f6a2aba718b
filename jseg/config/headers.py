"""Reads the header of a config file: the row of the paper that it reproduces, and its base."""

import ast
import re
from collections.abc import Mapping
from pathlib import Path

FIELDS = ("Reproduces", "Paper", "Measured")


def header_fields(path: Path) -> dict[str, str]:
    """Returns the lines `Field: text` of a config's docstring for the fields in `FIELDS`.

    Raises:
        ValueError: if a field occurs twice.
    """
    found: dict[str, str] = {}
    for line in (ast.get_docstring(_tree(path)) or "").splitlines():
        field, separator, text = line.partition(":")
        if separator and field in FIELDS:
            if field in found:
                raise ValueError(f"{path}: its header contains '{field}:' twice; keep one line")
            found[field] = text.strip()
    return found


def paper_numbers(fields: Mapping[str, str]) -> dict[str, float]:
    """Returns metric -> percent from the line `Paper:`. Empty if the paper has no result."""
    found = re.findall(r"([A-Za-z]\w*(?:\(\w+\))?) (\d+(?:\.\d+)?)", fields.get("Paper", ""))
    return {name: float(value) for name, value in found}


def base_config(path: Path) -> Path | None:
    """Returns the config that a config inherits from, or None if there are several or none."""
    for node in _tree(path).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_base_":
            base = ast.literal_eval(node.value)
            return path.parent / base if isinstance(base, str) else None
    return None


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))
