"""Reads what a run left in its work folder."""

import contextlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jseg.config import Config, dumped_from
from jseg.config.differences import Difference, differences
from jseg.config.headers import header_fields, paper_numbers
from jseg.evaluation import HEADLINE
from jseg.files import PathLike, expanded
from jseg.visualization import read_records

_INCIDENTAL = ("work_dir", "seed")


@dataclass(frozen=True)
class Run:
    """A work folder. What the run did not write is empty or None.

    Attributes:
        folder: the work folder. name: its last part.
        scores: metric -> percent, of the keys of `HEADLINE`. A metric that does not exist is left out.
        per_class: rows {name, unseen, iou, acc, pixels} of `metrics.json`; see `jseg.evaluation.summarise`.
        evaluated: what was evaluated: a checkpoint or an iteration.
        confusion: counts (C, C), rows = label, columns = prediction, or None.
        log, evaluations: records of `log.jsonl` and `eval.jsonl`.
        images: records of `per_image.jsonl`, from the worst to the best.
        environment: `environment.json`.
        config: the resolved config, or None.
        config_problem: why the config cannot be read, or "".
        source: the config file that `config` was made from, or None.
        changes: keys in which `config` differs from `source`.
        experiment: row of the paper that `source` reproduces, or "". paper: its metrics in percent.
        figures: PNG files of `pictures/`, by name without the suffix.
    """

    folder: Path
    scores: dict[str, float] = field(default_factory=dict)
    per_class: list[dict[str, Any]] = field(default_factory=list)
    evaluated: str = ""
    confusion: np.ndarray | None = None
    log: list[dict[str, Any]] = field(default_factory=list)
    evaluations: list[dict[str, Any]] = field(default_factory=list)
    images: list[dict[str, Any]] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)
    config: Config | None = None
    config_problem: str = ""
    source: Path | None = None
    changes: list[Difference] = field(default_factory=list)
    experiment: str = ""
    paper: dict[str, float] = field(default_factory=dict)
    figures: dict[str, Path] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.folder.name

    @property
    def class_names(self) -> list[str]:
        return [row["name"] for row in self.per_class]


def read_run(folder: PathLike) -> Run:
    """Reads a work folder.

    Raises:
        FileNotFoundError: if the folder does not exist. ValueError: if it is not the work folder of a run, or
            a file in it is damaged.
    """
    folder = expanded(folder).resolve()
    if not folder.is_dir():
        raise FileNotFoundError(f"folder {folder} does not exist; give the work folder of a run")
    if not any((folder / name).is_file() for name in ("metrics.json", "log.jsonl")):
        raise ValueError(
            f"{folder} has neither metrics.json nor log.jsonl; give the work folder of a run "
            "(work_dirs/NAME), which jseg train or jseg val has written"
        )
    metrics = _read_json(folder / "metrics.json")
    config, config_problem = _read_config(folder / "config.py")
    source, changes, experiment, paper = _compare_with_source(folder / "config.py", config)
    per_class = [row for row in metrics.get("per_class", []) if isinstance(row, dict) and "name" in row]
    return Run(
        folder,
        scores={key: float(metrics[key]) for key in HEADLINE if is_number(metrics.get(key))},
        per_class=per_class,
        evaluated=str(metrics.get("checkpoint") or _at_iteration(metrics.get("iter"))),
        confusion=_confusion(_read_json(folder / "confusion.json"), len(per_class)),
        log=_records(folder / "log.jsonl"),
        evaluations=_records(folder / "eval.jsonl"),
        images=_image_records(folder / "per_image.jsonl"),
        environment=_read_json(folder / "environment.json"),
        config=config,
        config_problem=config_problem,
        source=source,
        changes=changes,
        experiment=experiment,
        paper=paper,
        figures={path.stem: path for path in sorted((folder / "pictures").glob("*.png"))},
    )


def is_number(value: Any) -> bool:
    """Whether a value of a JSON file is a finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def confusions(matrix: np.ndarray, names: Sequence[str], count: int) -> list[dict[str, Any]]:
    """Returns the largest confusions of two classes as {label, prediction, share, pixels}.

    They are sorted by `share`, the fraction of the labelled pixels of the class that were predicted as the
    other class.

    Args:
        matrix: counts (C, C), rows = label, columns = prediction.
    """
    labelled = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, labelled, out=np.zeros(matrix.shape), where=labelled > 0)
    np.fill_diagonal(shares, 0.0)
    order = np.argsort(-shares, axis=None, kind="stable")[:count]
    found = [divmod(int(index), len(names)) for index in order]
    return [
        {
            "label": names[row],
            "prediction": names[column],
            "share": float(shares[row, column]),
            "pixels": int(matrix[row, column]),
        }
        for row, column in found
        if shares[row, column] > 0
    ]


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); remove it, or evaluate again: jseg val") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path} does not contain a JSON object; remove it, or evaluate again: jseg val")
    return value


def _read_config(path: Path) -> tuple[Config | None, str]:
    """Returns the config of a run, or None and why it cannot be read, such as keys of an older jseg."""
    try:
        return (Config.load(path), "") if path.is_file() else (None, "")
    except (ValueError, OSError) as error:
        return None, str(error)


def _compare_with_source(
    path: Path, config: Config | None
) -> tuple[Path | None, list[Difference], str, dict[str, float]]:
    """Returns the source of a config, what differs from it, and the row of the paper with its numbers."""
    nothing: tuple[Path | None, list[Difference], str, dict[str, float]] = (None, [], "", {})
    source = None if config is None else dumped_from(path)
    if config is None or source is None or not source.is_file():
        return nothing
    try:
        found = differences(Config.load(source), config)
        fields = header_fields(source)
    except (ValueError, OSError):  # edited since
        return nothing
    changed = [item for item in found if item.key.split(".")[0] not in _INCIDENTAL]
    return source, changed, fields.get("Reproduces", ""), paper_numbers(fields)


def _confusion(saved: Mapping[str, Any], classes: int) -> np.ndarray | None:
    matrix = np.array(saved.get("matrix", []), np.float64)
    return matrix if classes and matrix.shape == (classes, classes) else None


def _records(path: Path) -> list[dict[str, Any]]:
    return read_records(path) if path.is_file() else []


def _image_records(path: Path) -> list[dict[str, Any]]:
    """Returns the scores of images that have a mean IoU, from the worst to the best."""
    records = []
    if path.is_file():
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                record = json.loads(line)
                if isinstance(record, dict) and "name" in record and is_number(record.get("mIoU")):
                    records.append(record)
    return sorted(records, key=lambda record: record["mIoU"])


def _at_iteration(iteration: Any) -> str:
    return f"iteration {int(iteration)}" if is_number(iteration) else ""
