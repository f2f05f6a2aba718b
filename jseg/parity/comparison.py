"""Compares computed with recorded arrays: one row for each quantity, and a table of all rows."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

OUTPUT_TOLERANCE = 2e-5
GRADIENT_TOLERANCE = 2e-4


class Row(NamedTuple):
    """One line of the table."""

    name: str
    shape: tuple[int, ...]
    difference: float
    tolerance: float

    @property
    def passed(self) -> bool:
        return self.difference <= self.tolerance


def compare(computed: Mapping[str, np.ndarray], recorded: Mapping[str, np.ndarray]) -> list[Row]:
    """Returns one row for each recorded quantity. The difference is infinite if it was not computed."""
    rows = []
    for name, value in recorded.items():
        gradient = ".grad." in name
        # Softmax cancels a key bias, so its gradient is rounding noise; compare it on the scale of the
        # weight's.
        key_bias = gradient and name.endswith(".k.bias")
        weight = recorded.get(name[: -len("bias")] + "weight") if key_bias else None
        floor = 0.0 if weight is None else float(np.abs(weight).max())
        tolerance = GRADIENT_TOLERANCE if gradient else OUTPUT_TOLERANCE if value.dtype.kind == "f" else 0.0
        rows.append(Row(name, value.shape, _difference(computed.get(name), value, floor), tolerance))
    return rows


def _difference(value: Any, reference: np.ndarray, floor: float) -> float:
    if value is None or value.size != reference.size or value.ndim > reference.ndim + 1:
        return float("inf")
    if value.ndim == reference.ndim and value.shape != reference.shape:
        return float("inf")
    value = value.reshape(reference.shape)
    if reference.dtype.kind != "f":
        return float((value != reference).mean())
    if not np.isfinite(value).all():
        return float("inf")
    scale = max(float(np.abs(reference).max()), floor) or 1.0
    return float(np.abs(value.astype(np.float64) - reference).max()) / scale


def format_rows(rows: list[Row]) -> str:
    """Formats the table, with a closing line."""
    width = max(len(row.name) for row in rows)
    lines = [f"{'quantity':{width}}  {'shape':>18}  {'difference':>10}  {'tolerance':>9}"]
    for row in rows:
        shape = "x".join(map(str, row.shape)) or "scalar"
        lines.append(
            f"{row.name:{width}}  {shape:>18}  {row.difference:10.2e}  {row.tolerance:9.0e}"
            f"{'' if row.passed else '  FAIL'}"
        )
    failed = sum(not row.passed for row in rows)
    return "\n".join([*lines, f"{len(rows) - failed} of {len(rows)} within tolerance"])
