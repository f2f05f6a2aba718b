"""The charts of a report, as inline SVG."""

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEEN, UNSEEN, NEUTRAL = "#0072b2", "#c81020", "#2d343c"
LABELLED = 40  # classes up to which the confusion matrix names its rows and columns
COLOURS = ("#2d343c", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


def new_figure(width: float, height: float) -> "Figure":
    """Returns an empty figure of a size in inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def svg(figure: "Figure", name: str, title: str) -> str:
    """Returns a figure as an SVG element for use inside HTML.

    Args:
        name: makes the ids inside the element differ from those of other charts of the page.
        title: what a screen reader says.
    """
    import matplotlib

    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name, "svg.id": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Title": title})
    text = buffer.getvalue()
    # Nothing refers to the ids of groups, and equal ones in several charts would clash.
    text = re.sub(r'<g id="[^"]*"', "<g", text[text.index("<svg") :])
    # Sizes in points would not shrink on narrow screens; the view box keeps the proportions.
    text = re.sub(r'^<svg([^>]*?) height="[^"]*"', r'<svg\1 role="img"', text, count=1)
    return re.sub(r'^(<svg[^>]*?) width="([\d.]+)pt"', r'\1 style="max-width:\2pt"', text, count=1)


def class_bars(rows: Sequence[Mapping[str, Any]]) -> "Figure":
    """Draws the IoU of every class, from the best to the worst, in the colours of seen and unseen.

    Args:
        rows: {name, unseen, iou} with iou in percent or None.
    """
    known = sorted((row for row in rows if row["iou"] is not None), key=lambda row: row["iou"])
    figure = new_figure(8, max(1.6, 0.6 + 0.2 * len(known)))
    axes = figure.subplots()
    colours = [UNSEEN if row["unseen"] else SEEN for row in known]
    axes.barh(range(len(known)), [row["iou"] for row in known], color=colours, height=0.75)
    for position, row in enumerate(known):
        axes.text(row["iou"] + 0.7, position, f"{row['iou']:.1f}", va="center", fontsize=7)
    axes.set_yticks(range(len(known)), [_text(row["name"]) for row in known], fontsize=8)
    axes.set(xlim=(0, 105), ylim=(-0.6, len(known) - 0.4), xlabel="IoU in percent")
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def confusion_map(matrix: np.ndarray, names: Sequence[str]) -> "Figure":
    """Draws the shares of the predicted classes in the pixels of each labelled class.

    Args:
        matrix: counts (C, C), rows = label, columns = prediction.
    """
    labelled = matrix.sum(axis=1, keepdims=True)
    shares = np.divide(matrix, labelled, out=np.zeros(matrix.shape), where=labelled > 0)
    named = len(names) <= LABELLED
    side = max(4.0, 2.5 + 0.22 * len(names)) if named else 8.0
    figure = new_figure(side, side)
    axes = figure.subplots()
    shown = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    if named:
        words = [_text(name) for name in names]
        axes.set_xticks(range(len(names)), words, rotation=90, fontsize=7)
        axes.set_yticks(range(len(names)), words, fontsize=7)
    axes.set(xlabel="predicted", ylabel="labelled")
    figure.colorbar(shown, ax=axes, fraction=0.04, label="share of the labelled pixels")
    return figure


def score_groups(groups: Sequence[tuple[str, Mapping[str, tuple[float, float]]]]) -> "Figure":
    """Draws bars of metrics side by side, with the deviation over seeds.

    Args:
        groups: name -> metric -> (mean, standard deviation) in percent.
    """
    metrics = [
        key for key in ("mIoU(S)", "mIoU(U)", "hIoU", "mIoU", "pAcc") if any(key in g for _, g in groups)
    ]
    figure = new_figure(9, 3.6)
    axes = figure.subplots()
    width = 0.8 / max(len(groups), 1)
    for index, (name, scores) in enumerate(groups):
        places = [at for at, key in enumerate(metrics) if key in scores]
        found = [scores[metrics[at]] for at in places]
        deviations = [deviation for _, deviation in found]
        axes.bar(
            [at + (index - (len(groups) - 1) / 2) * width for at in places],
            [mean for mean, _ in found],
            width * 0.92,
            yerr=deviations if any(deviations) else None,
            color=COLOURS[index % len(COLOURS)],
            error_kw={"elinewidth": 1, "capsize": 2},
            label=_text(name),
        )
    axes.set_xticks(range(len(metrics)), metrics)
    axes.set(ylabel="percent", ylim=(0, 100))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), ncols=min(len(groups), 3))
    return figure


def _text(text: str) -> str:
    """Escapes the dollar signs that start mathematical text in matplotlib, and shortens."""
    short = text if len(text) <= 40 else text[:39] + "…"
    return short.replace("$", r"\$")
