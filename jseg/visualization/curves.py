"""Training curves of losses and of seen and unseen IoU over the iterations, from the JSON logs of a run."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from jseg.files import PathLike
from jseg.visualization.chart import Series, draw_chart
from jseg.visualization.files import save_png
from jseg.visualization.fonts import PAPER, Colour, draw_text, line_height, shorten

PAGE_SIZE = (1200, 520)  # pixels
MARGIN = 20
TITLE_SIZE = 22
SMOOTHING_WINDOWS = 30  # the smoothed line averages over about 1/30 of the points

LOSS_NAMES = {
    "total": "total",
    "loss_mask": "focal",
    "loss_dice": "dice",
    "recovery_loss_q": "recovery (queries)",
    "recovery_loss_k": "recovery (pixels)",
}
# Dark for the total, then colours that colour-blind readers can tell apart (Okabe and Ito, 2008).
COLOURS: tuple[Colour, ...] = (
    (45, 52, 60),
    (0, 114, 178),
    (213, 94, 0),
    (0, 158, 115),
    (204, 121, 167),
    (230, 159, 0),
    (86, 180, 233),
)
METRICS: tuple[tuple[str, Colour], ...] = (
    ("hIoU", (45, 52, 60)),
    ("mIoU(S)", (0, 114, 178)),
    ("mIoU(U)", (200, 16, 32)),
)


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
    """Computes an exponential moving average over about 1/30 of the points, corrected for its zero start."""
    decay = 1.0 - 1.0 / max(1.0, len(values) / SMOOTHING_WINDOWS)
    result, mean, weight = np.empty(len(values)), 0.0, 0.0
    for index, value in enumerate(values):
        mean = decay * mean + (1.0 - decay) * value
        weight = decay * weight + (1.0 - decay)
        result[index] = mean / weight
    return result


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
    """Returns lines for hIoU, mIoU(S) and mIoU(U) in percent, each with its last value in its name."""
    series = []
    for key, colour in METRICS:
        x, y = points(records, key)
        name = f"{key} {y[-1]:.1f}" if y.size else key
        series.append(Series(name, colour, x, y, strong=key == "hIoU"))
    return series


def draw_curves(
    log: Sequence[dict[str, Any]], evaluations: Sequence[dict[str, Any]], title: str = ""
) -> Image.Image:
    """Draws the losses (left) and the IoU values (right) of the records as one 1200 x 520 image."""
    width, height = PAGE_SIZE
    page = Image.new("RGB", PAGE_SIZE, PAPER)
    top = MARGIN // 2
    if title:
        text = shorten(title, TITLE_SIZE, width - 2 * MARGIN)
        draw_text(ImageDraw.Draw(page), (width / 2, top), text, TITLE_SIZE, anchor="ma", bold=True)
        top += line_height(TITLE_SIZE) + 8
    size = ((width - MARGIN) // 2, height - top - MARGIN // 2)
    last = max((record["iter"] for record in (*log, *evaluations)), default=1)
    losses = draw_chart(loss_series(log), "loss", size, last, empty_text="no iteration logged yet")
    metrics = draw_chart(metric_series(evaluations), "IoU in percent", size, last, 100.0, "no evaluation yet")
    page.paste(losses, (0, top))
    page.paste(metrics, (width - size[0], top))
    return page


def save_curves(
    path: PathLike, log_path: PathLike, eval_path: PathLike | None = None, title: str = ""
) -> None:
    """Draws the curves of a run into the PNG file `path`.

    Args:
        path: PNG file to write.
        log_path: `log.jsonl`, lines like {"iter": 50, "total": 3.1, "loss_mask": 1.2, "loss_dice": 0.4}.
        eval_path: `eval.jsonl`, lines like {"iter": 500, "hIoU": 41.0, "mIoU(S)": 60.2, "mIoU(U)": 31.1}.
            If a run was not evaluated yet, this file does not exist, and the image says so.
        title: title above both charts.

    Raises:
        FileNotFoundError, ValueError: see `read_records` and `save_png`.
    """
    log = read_records(log_path)
    evaluations = read_records(eval_path) if eval_path is not None and Path(eval_path).is_file() else []
    save_png(draw_curves(log, evaluations, title), path)
