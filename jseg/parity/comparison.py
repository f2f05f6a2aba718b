"""Compares computed with recorded arrays: one row for each quantity, and a table of all rows."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

OUTPUT_TOLERANCE = 2e-5
GRADIENT_TOLERANCE = 2e-4
TRAINING_TOLERANCES = {
    "lr": 1e-9,
    "loss_mask": 1e-4,
    "loss_dice": 1e-4,
    "recovery_loss_q": 5e-4,
    "recovery_loss_k": 5e-4,
    "total": 1e-4,
    "acc_seg": 0.1,
    "final": 1e-4,
    "exp_avg": 3e-3,
    "exp_avg_sq": 3e-3,
    "pseudo_label": 1e-3,
}
"""Of the first part of a name, for a run in float32 beside one in float64."""


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
    """Returns one row for each recorded quantity. The difference is infinite if it was not computed.

    Settings with recorded learning rates are training runs, which are compared by `_training_row`.
    """
    runs = {name.removesuffix(".lr") for name in recorded if name.endswith(".lr")}
    rows = []
    for name, value in recorded.items():
        setting, _, quantity = name.partition(".")
        if setting in runs:
            rows += _training_row(name, quantity, computed.get(name), value)
        else:
            rows.append(_row(name, computed, recorded))
    return rows


def _row(name: str, computed: Mapping[str, np.ndarray], recorded: Mapping[str, np.ndarray]) -> Row:
    value, gradient = recorded[name], ".grad." in name
    # Softmax cancels a key bias, so its gradient is rounding noise; compare it on the scale of the weight's.
    key_bias = gradient and name.endswith(".k.bias")
    weight = recorded.get(name[: -len("bias")] + "weight") if key_bias else None
    floor = 0.0 if weight is None else float(np.abs(weight).max())
    tolerance = GRADIENT_TOLERANCE if gradient else OUTPUT_TOLERANCE if value.dtype.kind == "f" else 0.0
    return Row(name, value.shape, _difference(computed.get(name), value, floor), tolerance)


def _training_row(name: str, quantity: str, value: np.ndarray | None, reference: np.ndarray) -> list[Row]:
    """One row, or none for key biases, whose gradient is rounding noise that AdamW enlarges to full steps.

    Learning rates and losses are compared step by step, relative to the step; the accuracy in percent points;
    weights and moments relative to the largest value of the tensor; pseudo labels by the share of different
    pixels in the worst step.
    """
    if quantity.endswith(".k.bias"):
        return []
    tolerance = TRAINING_TOLERANCES[quantity.split(".")[0]]
    if value is None or value.size != reference.size:
        return [Row(name, reference.shape, float("inf"), tolerance)]
    if quantity == "pseudo_label":
        steps = (value.reshape(reference.shape) != reference).reshape(len(reference), -1)
        return [Row(name, reference.shape, float(steps.mean(1).max()), tolerance)]
    if "." in quantity:
        return [Row(name, reference.shape, _difference(value, reference, 0.0), tolerance)]
    distance = np.abs(value.reshape(reference.shape) - reference)
    if quantity != "acc_seg":
        distance /= np.where(reference == 0, 1.0, np.abs(reference))
    worst = float(distance.max())
    return [Row(name, reference.shape, worst if np.isfinite(worst) else float("inf"), tolerance)]


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
