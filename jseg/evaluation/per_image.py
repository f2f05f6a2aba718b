"""Scores of single images, one JSON object per line, which show where a model fails."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jseg.evaluation.metrics import HEADLINE, json_ready, summarise
from jseg.files import PathLike


def image_record(
    name: str, matrix: np.ndarray, class_names: Sequence[str], unseen: Sequence[int]
) -> dict[str, Any]:
    """Computes the metrics of one image, defined as those of a dataset.

    Args:
        name: id of the image.
        matrix: confusion matrix of the image (C, C), rows = label, columns = prediction.
        class_names, unseen: see `summarise`.

    Returns:
        name, pixels (the labelled ones), the keys of `HEADLINE` in percent, and iou, which maps class names
        to percent for the classes that are labelled or predicted in the image. Means are over those classes.
        A metric that does not exist is None.
    """
    summary = json_ready(summarise(matrix, class_names, unseen))
    return {
        "name": name,
        "pixels": int(np.sum(matrix)),
        **{key: _rounded(summary[key]) for key in HEADLINE},
        "iou": {row["name"]: _rounded(row["iou"]) for row in summary["per_class"] if row["iou"] is not None},
    }


def write_records(path: PathLike, records: Iterable[dict[str, Any]]) -> None:
    """Writes records as JSON lines.

    Raises:
        OSError: if the file cannot be written.
    """
    with Path(path).open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def _rounded(value: Any) -> Any:
    return None if value is None else round(value, 4)
