"""Compares results with those of the paper."""

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jseg.config import Config
from jseg.config.differences import differences, flat
from jseg.names import shortened
from jseg.reproduce.rows import Row

TOLERANCE = 1.0
"""Percentage points. This is a convention: the paper gives one number per row, without seeds."""

_USUAL = ("pAcc", "hIoU", "mIoU(S)", "mIoU(U)")
# Config keys that do not affect the result.
_INCIDENTAL = (
    "work_dir",
    "keep_checkpoints",
    "num_workers",
    "visualize",
    "data_root",
    "seed",
    "init_from",
    "log_interval",
    "watchdog_seconds",
    "sinks",
)


class Result(NamedTuple):
    """The result of one seed or checkpoint.

    `scores` maps metrics to percent. `hours` are the measured hours of training, or None.
    """

    label: str
    scores: Mapping[str, float]
    hours: float | None = None


def compare(row: Row, results: Sequence[Result], departures: Sequence[str], tolerance: float) -> str:
    """Returns a table with the results of the paper and ours, and a verdict.

    Args:
        departures: differences between the runs and the recipe of the row.
        tolerance: accepted difference of `row.metric` in percentage points.
    """
    metrics = list(row.paper) or list(_USUAL)
    lines = [["", *metrics], ["paper", *(_number(row.paper.get(metric)) for metric in metrics)]]
    lines += [
        [result.label, *(_number(result.scores.get(metric), 2) for metric in metrics)] for result in results
    ]
    means = {metric: _mean(results, metric) for metric in metrics}
    if len(results) > 1:
        spreads = [_spread(results, metric) for metric in metrics]
        lines.append(["mean", *(_number(means[metric], 2) for metric in metrics)])
        lines.append(["standard deviation", *(_number(spread, 2) for spread in spreads)])
    if row.paper:
        differences = [
            None if (mean := means[metric]) is None else mean - row.paper[metric] for metric in metrics
        ]
        lines.append(["difference", *("-" if value is None else f"{value:+.2f}" for value in differences)])
    hours = [result.hours for result in results if result.hours is not None]
    time = f"hours of training: {', '.join(f'{value:.2f}' for value in hours)} (measured)\n" if hours else ""
    return f"{_aligned(lines)}\n{time}verdict: {_verdict(row, results, departures, tolerance)}"


def _verdict(row: Row, results: Sequence[Result], departures: Sequence[str], tolerance: float) -> str:
    if not row.paper:
        return "the paper has no result for this row (out of memory)"
    if departures:
        return "not comparable with the paper\n" + "\n".join(f"  {text}" for text in departures)
    metric = row.metric
    mean, spread = _mean(results, metric), _spread(results, metric)
    if mean is None:
        return f"not comparable with the paper: {metric} is not defined for these results"
    allowed = max(tolerance, 2 * (spread or 0.0))
    difference = mean - row.paper[metric]
    seeds = "one seed, so the deviation is unknown" if len(results) == 1 else f"{len(results)} seeds"
    if abs(difference) <= allowed:
        return f"reproduced: {metric} {mean:.2f} is within {allowed:.2f} points of the paper's ({seeds})"
    side = "above" if difference > 0 else "below"
    title = "better than the paper" if difference > 0 else "not reproduced"
    return f"{title}: {metric} {mean:.2f} is {abs(difference):.2f} points {side} the paper's ({seeds})"


def deviations(saved: Mapping[str, Any], config: Path) -> list[str]:
    """Returns a sentence with the keys in which a run differs from the shipped config, or an empty list.

    Args:
        saved: resolved config of the run.
    """
    shipped = flat(dict(Config.load(config)))
    own = flat(saved)
    for values in (shipped, own):
        values["model.clip"] = Path(str(values.get("model.clip"))).name
        for key in list(values):
            if key.split(".")[0] in _INCIDENTAL:
                del values[key]
    changed = [difference.key for difference in differences(shipped, own)]
    return [f"{config.name} was run with different values of {shortened(changed)}"] if changed else []


def _values(results: Sequence[Result], metric: str) -> list[float]:
    """Returns the scores that exist. Undefined metrics are null in the files."""
    found = (result.scores.get(metric) for result in results)
    return [float(value) for value in found if isinstance(value, (int, float)) and value == value]


def _mean(results: Sequence[Result], metric: str) -> float | None:
    values = _values(results, metric)
    return statistics.fmean(values) if values and len(values) == len(results) else None


def _spread(results: Sequence[Result], metric: str) -> float | None:
    values = _values(results, metric)
    return statistics.stdev(values) if len(values) > 1 else None


def _number(value: float | None, digits: int = 1) -> str:
    return f"{value:.{digits}f}" if isinstance(value, (int, float)) and value == value else "-"


def _aligned(lines: Sequence[Sequence[str]]) -> str:
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join(
        "  ".join(
            [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:]))]
        )
        for line in lines
    )
