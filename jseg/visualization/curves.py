"""Training curves of losses and of seen and unseen IoU over the iterations, from the JSON logs of a run."""

import json
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jseg.files import PathLike
from jseg.visualization.files import save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PAGE_SIZE = (1200, 520)  # pixels
DPI = 100
LOGARITHMIC_FROM = 20.0  # ratio of the largest to the smallest loss above which the axis is logarithmic
SMOOTHING_WINDOWS = 30  # the smoothed line averages over about 1/30 of the points

LOSS_NAMES = {
    "total": "total",
    "loss_mask": "focal",
    "loss_dice": "dice",
    "recovery_loss_q": "recovery (queries)",
    "recovery_loss_k": "recovery (pixels)",
}
# Dark for the total, then colours that colour-blind readers can tell apart (Okabe and Ito, 2008).
COLOURS = ("#2d343c", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
METRICS = (("hIoU", "#2d343c"), ("mIoU(S)", "#0072b2"), ("mIoU(U)", "#c81020"))
MATPLOTLIB_MISSING = "no curves are drawn, since matplotlib is missing: pip install matplotlib"


class Series(NamedTuple):
    """A line: its points, each float (n,), and a smoothed copy of `y`, or None."""

    name: str
    colour: str
    x: np.ndarray
    y: np.ndarray
    smoothed: np.ndarray | None = None
    strong: bool = False


def can_draw() -> bool:
    """Whether matplotlib, an optional package, is installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        return False
    return True


def read_records(path: PathLike) -> list[dict[str, Any]]:
    """Reads a log of JSON lines, each an object with `iter`, and returns one record per iteration in order.

    Lines that a killed run left incomplete are skipped. They are at the end of the file or, after the run was
    resumed, inside it. If a resumed run repeated an iteration, the later line counts.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file has complete lines but none of them is such an object.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"log file '{path}' does not exist; train first, or give the folder of a finished run"
        )
    text = path.read_text(encoding="utf-8", errors="replace")
    records: dict[int, dict[str, Any]] = {}
    for line in text.splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and _is_number(record.get("iter")):
            records[int(record["iter"])] = record
    complete = [line for line in text.split("\n")[:-1] if line.strip()]
    if complete and not records:
        raise ValueError(f"log file '{path}' has no line like {{\"iter\": 1, ...}}; give a log file of jseg")
    return [records[iteration] for iteration in sorted(records)]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def points(records: Sequence[dict[str, Any]], key: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns iterations and values, each float (n,), of the records in which `key` is a finite number."""
    pairs = [(record["iter"], record[key]) for record in records if _is_number(record.get(key))]
    x, y = np.array(pairs, float).reshape(-1, 2).T
    return x, y


def smooth(values: np.ndarray) -> np.ndarray:
    """Computes an exponential moving average over about 1/30 of the points, corrected for its zero start.

    It is the geometric mean if all values are positive: losses fall by orders of magnitude at the beginning,
    and an arithmetic mean would stay at the first ones for long.
    """
    positive = bool((values > 0).all())
    decay = 1.0 - 1.0 / max(1.0, len(values) / SMOOTHING_WINDOWS)
    result, mean, weight = np.empty(len(values)), 0.0, 0.0
    for index, value in enumerate(np.log(values) if positive else values):
        mean = decay * mean + (1.0 - decay) * value
        weight = decay * weight + (1.0 - decay)
        result[index] = mean / weight
    return np.exp(result) if positive else result


def loss_series(records: Sequence[dict[str, Any]]) -> list[Series]:
    """Returns lines for the total and every key that contains `loss`, raw and smoothed."""
    keys = [key for key in LOSS_NAMES if any(key in record for record in records)]
    for record in records:
        keys += [key for key in record if "loss" in key and key not in keys]
    series = []
    for index, key in enumerate(keys):
        x, y = points(records, key)
        colour = COLOURS[index % len(COLOURS)]
        series.append(Series(LOSS_NAMES.get(key, key), colour, x, y, smooth(y), strong=key == "total"))
    return series


def metric_series(records: Sequence[dict[str, Any]]) -> list[Series]:
    """Returns lines for hIoU, mIoU(S) and mIoU(U) in percent, each with its last value in its name.

    Without unseen classes, hIoU and mIoU(U) do not exist, and mIoU is drawn alone.
    """
    chosen: Sequence[tuple[str, str]] = METRICS
    if not any(points(records, key)[0].size for key, _ in METRICS[::2]):
        chosen = (("mIoU", METRICS[1][1]),) if points(records, "mIoU")[0].size else METRICS
    series = []
    for key, colour in chosen:
        x, y = points(records, key)
        name = f"{key} {y[-1]:.1f}" if y.size else key
        series.append(Series(name, colour, x, y, strong=key == "hIoU"))
    return series


def curves_figure(
    log: Sequence[dict[str, Any]], evaluations: Sequence[dict[str, Any]], title: str = ""
) -> "Figure":
    """Draws the losses (left) and the IoU values (right) of the records.

    Raises:
        ImportError: if matplotlib is missing; see `can_draw`.
    """
    from matplotlib.figure import Figure

    width, height = PAGE_SIZE
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI, layout="constrained")
    left, right = figure.subplots(1, 2)
    last = max((record["iter"] for record in (*log, *evaluations)), default=1)
    losses = loss_series(log)
    draw_series(left, losses, "loss", last, "no iteration logged yet")
    positive = [line.y[line.y > 0] for line in losses if (line.y > 0).any()]
    if positive and max(y.max() for y in positive) > LOGARITHMIC_FROM * min(y.min() for y in positive):
        left.set_yscale("log")
    else:
        left.set_ylim(bottom=0)
    draw_series(right, metric_series(evaluations), "IoU in percent", last, "no evaluation yet")
    right.set_ylim(0, 100)
    if title:
        figure.suptitle(title, fontweight="bold")
    return figure


def draw_series(axes: "Axes", lines: Sequence[Series], label: str, last: float, empty: str) -> None:
    """Draws lines over iterations 0 to `last`, with a legend, or the text `empty` if there are no points."""
    for line in (line for line in lines if line.x.size):
        width = 2.4 if line.strong else 1.6
        marker = "o" if line.x.size == 1 else ""
        if line.smoothed is None:
            axes.plot(line.x, line.y, marker or "-", color=line.colour, linewidth=width, label=line.name)
        else:
            axes.plot(line.x, line.y, color=line.colour, linewidth=0.8, alpha=0.25)
            axes.plot(
                line.x, line.smoothed, marker or "-", color=line.colour, linewidth=width, label=line.name
            )
    axes.set(xlabel="iteration", ylabel=label, xlim=(0, last))
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if any(line.x.size for line in lines):
        axes.legend(frameon=False, fontsize=9)
    else:
        axes.text(0.5, 0.5, empty, ha="center", va="center", transform=axes.transAxes, color="#6c757d")


def save_curves(
    path: PathLike, log_path: PathLike, eval_path: PathLike | None = None, title: str = ""
) -> None:
    """Draws the curves of a run into the PNG file `path`, 1200 x 520 pixels.

    Args:
        path: PNG file to write.
        log_path: `log.jsonl`, lines like {"iter": 50, "total": 3.1, "loss_mask": 1.2, "loss_dice": 0.4}.
        eval_path: `eval.jsonl`, lines like {"iter": 500, "hIoU": 41.0, "mIoU(S)": 60.2, "mIoU(U)": 31.1}.
            If a run was not evaluated yet, this file does not exist, and the image says so.
        title: title above both charts.

    Raises:
        FileNotFoundError, ValueError: see `read_records` and `save_png`.
        ImportError: see `curves_figure`.
    """
    log = read_records(log_path)
    evaluations = read_records(eval_path) if eval_path is not None and Path(eval_path).is_file() else []
    with warnings.catch_warnings():
        # Compiled operators flush subnormal numbers to zero. NumPy warns of it when matplotlib asks for it.
        warnings.filterwarnings("ignore", "The value of the smallest subnormal")
        save_figure(curves_figure(log, evaluations, title), path)
