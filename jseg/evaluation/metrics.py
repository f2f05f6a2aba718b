"""The metrics of generalised zero-shot segmentation, from one confusion matrix over all classes.

Of a class, IoU is TP / (TP + FP + FN) and accuracy is TP / (TP + FN). pAcc is the sum of TP over all labelled
pixels. mIoU(S) and mIoU(U) are means over the seen and unseen classes, where predictions compete over all
classes. hIoU is their harmonic mean. A class that occurs neither in the labels nor in the predictions has no
IoU (NaN) and is left out of the means, as in mmsegmentation.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

HEADLINE = ("pAcc", "mAcc", "mIoU", "mIoU(S)", "mIoU(U)", "hIoU")


def summarise(matrix: np.ndarray, class_names: Sequence[str], unseen: Sequence[int]) -> dict[str, Any]:
    """Computes all metrics in percent.

    Args:
        matrix: counts (C, C), rows = label, columns = prediction.
        class_names: C names.
        unseen: indices of the unseen classes. If it is empty, mIoU(U) and hIoU are NaN.

    Returns:
        The keys of `HEADLINE`, and `per_class`, a list of {name, unseen, iou, acc, pixels}, where pixels is
        the number of labelled pixels of the class. A metric that does not exist is NaN; see `json_ready`.

    Raises:
        ValueError: if the sizes do not match, or an index is not that of a class.
    """
    count = len(class_names)
    matrix = np.asarray(matrix, np.float64)  # exact up to 2**53 pixels
    if matrix.shape != (count, count):
        raise ValueError(f"a confusion matrix of shape {matrix.shape} does not fit {count} class names")
    if any(not 0 <= index < count for index in unseen):
        raise ValueError(f"unseen is {tuple(unseen)}, with an index outside 0..{count - 1}")
    is_unseen = np.zeros(count, bool)
    is_unseen[list(unseen)] = True
    correct, labelled, predicted = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    iou = _percent(correct, labelled + predicted - correct)
    accuracy = _percent(correct, labelled)
    seen_iou, unseen_iou = _mean(iou[~is_unseen]), _mean(iou[is_unseen])
    return {
        "pAcc": float(_percent(correct.sum(), labelled.sum())),
        "mAcc": _mean(accuracy),
        "mIoU": _mean(iou),
        "mIoU(S)": seen_iou,
        "mIoU(U)": unseen_iou,
        "hIoU": _harmonic_mean(seen_iou, unseen_iou),
        "per_class": [
            {
                "name": name,
                "unseen": bool(is_unseen[i]),
                "iou": float(iou[i]),
                "acc": float(accuracy[i]),
                "pixels": int(labelled[i]),
            }
            for i, name in enumerate(class_names)
        ],
    }


def json_ready(summary: dict[str, Any]) -> dict[str, Any]:
    """Returns the summary with None in place of NaN, which JSON does not have."""
    ready = {key: _none_for_nan(value) for key, value in summary.items() if key != "per_class"}
    ready["per_class"] = [
        {key: _none_for_nan(value) for key, value in row.items()} for row in summary["per_class"]
    ]
    return ready


def format_table(summary: dict[str, Any]) -> str:
    """Formats the per-class table and the headline metrics, with * for unseen classes and '-' for NaN."""
    rows: list[Sequence[str]] = [("class", "IoU", "acc", "pixels")]
    for row in summary["per_class"]:
        mark = " *" if row["unseen"] else ""
        rows.append((row["name"] + mark, _cell(row["iou"]), _cell(row["acc"]), str(row["pixels"])))
    lines = _align(rows)
    if any(row["unseen"] for row in summary["per_class"]):
        lines.append("* unseen in training")
    headline = [HEADLINE, [_cell(summary[key]) for key in HEADLINE]]
    return "\n".join([*lines, "", *_align(headline, first_left=False)])


def _align(rows: Sequence[Sequence[str]], first_left: bool = True) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths)]
        if first_left:
            cells[0] = row[0].ljust(widths[0])
        lines.append("  ".join(cells))
    lines.insert(1, "  ".join("-" * width for width in widths))
    return lines


def _percent(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.asarray(whole) > 0, 100.0 * np.asarray(part) / whole, np.nan)


def _mean(values: np.ndarray) -> float:
    existing = values[~np.isnan(values)]
    return float(existing.mean()) if existing.size else math.nan


def _harmonic_mean(first: float, second: float) -> float:
    total = first + second
    return 0.0 if total == 0 else 2 * first * second / total  # NaN if either is


def _none_for_nan(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _cell(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"
