"""Fills the HTML template of a report."""

import base64
import io
import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any, NamedTuple

from PIL import Image

from jseg import __version__
from jseg.config.differences import differences, flat
from jseg.evaluation import HEADLINE
from jseg.progress import progress
from jseg.report.examples import MASKS, draw_examples
from jseg.report.plots import class_bars, confusion_map, score_groups, svg
from jseg.report.run import Run, confusions
from jseg.visualization.curves import curves_figure

_CONFUSIONS = 10  # rows
_IMAGES = 5  # best and worst images in the tables
_SHOWN = 4  # best and worst images drawn
_CHANGED_CLASSES = 20  # rows of the comparison by class
_IMAGE_BYTES = 1_500_000  # of all embedded images, so that a report stays below 3 MB
_JPEG_QUALITY = 82
_CAPTIONS = {
    "panels": "Image, ground truth and prediction",
    "regions": "Each region classified by the original CLIP and by the trained encoder",
}


class Group(NamedTuple):
    """Runs of one config that differ in the seed at most. `scores` maps metrics to (mean, deviation)."""

    name: str
    runs: list[Run]
    scores: dict[str, tuple[float, float]]


def require_packages() -> None:
    """Checks for the optional packages.

    Raises:
        ValueError: if one is missing.
    """
    try:
        import jinja2
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise ValueError(
            f"reports need {error.name}, which is missing: pip install jinja2 matplotlib "
            "(or jseg with its extra: pip install 'jseg[report]')"
        ) from None
    del jinja2


def report_page(runs: Sequence[Run], title: str = "") -> str:
    """Returns a report on one or more runs as a complete HTML page, without links to other files.

    Args:
        runs: at least one. title: heading, by default the names of the runs.

    Raises:
        OSError: if a figure of a run cannot be read. ValueError: see `require_packages`.
    """
    require_packages()
    import jinja2

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["percent"] = percent
    template = environment.from_string(
        files("jseg.report").joinpath("report.html").read_text(encoding="utf-8")
    )
    names = distinct_names(runs)
    budget = _IMAGE_BYTES // len(runs)
    sections = [
        _section(run, name, f"run{at}", budget)
        for at, (run, name) in enumerate(zip(progress(runs, unit="run"), names))
    ]
    groups = group_runs(runs, names)
    return template.render(
        title=title or ", ".join(names),
        metrics=HEADLINE,
        sections=sections,
        comparison=_comparison(groups) if len(runs) > 1 else None,
        version=__version__,
        made=time.strftime("%Y-%m-%d %H:%M"),
    )


def group_runs(runs: Sequence[Run], names: Sequence[str]) -> list[Group]:
    """Joins the runs whose configs differ in the seed and the work folder at most."""
    found: dict[Any, list[int]] = {}
    for index, run in enumerate(runs):
        found.setdefault(_recipe(run, index), []).append(index)
    groups = []
    for members in found.values():
        own = [runs[index] for index in members]
        name = names[members[0]]
        if len(own) > 1:
            name = f"{own[0].source.stem if own[0].source else name}, {len(own)} runs"
        scores = {
            key: mean_and_deviation([run.scores[key] for run in own])
            for key in HEADLINE
            if all(key in run.scores for run in own)
        }
        groups.append(Group(name, own, scores))
    return groups


def mean_and_deviation(values: Sequence[float]) -> tuple[float, float]:
    """Returns the mean and the sample standard deviation, which is 0 for one value."""
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else 0.0


def distinct_names(runs: Sequence[Run]) -> list[str]:
    """Returns the names of the folders, with as many parents as are needed to tell them apart."""
    depth = 1
    longest = max(len(run.folder.parts) for run in runs)
    while depth < longest and len({run.folder.parts[-depth:] for run in runs}) < len(runs):
        depth += 1
    return ["/".join(run.folder.parts[-depth:]) for run in runs]


def percent(value: float | None, digits: int = 1) -> str:
    """41.26 -> '41.3', None -> '–'."""
    return "–" if value is None else f"{value:.{digits}f}"


def _recipe(run: Run, index: int) -> Any:
    """What must be equal in runs that differ in the seed only. A run without a config is alone."""
    if run.config is None:
        return index
    ignored = ("seed", "work_dir", "init_from")
    return tuple(sorted((key, repr(value)) for key, value in flat(run.config).items() if key not in ignored))


def _section(run: Run, name: str, identity: str, image_bytes: int) -> dict[str, Any]:
    """Returns what the template shows of one run."""
    charts = {}
    if run.log or run.evaluations:
        charts["curves"] = svg(curves_figure(run.log, run.evaluations), f"{identity}-curves", "Curves")
    if any(row["iou"] is not None for row in run.per_class):
        charts["classes"] = svg(class_bars(run.per_class), f"{identity}-classes", "IoU of every class")
    worst: list[dict[str, Any]] = []
    if run.confusion is not None:
        figure = confusion_map(run.confusion, run.class_names)
        charts["confusion"] = svg(figure, f"{identity}-confusion", "Confusion matrix")
        worst = confusions(run.confusion, run.class_names, _CONFUSIONS)
    return {
        "run": run,
        "name": name,
        "charts": charts,
        "confusions": worst,
        "figures": _figures(run, image_bytes),
        "worst_images": run.images[:_IMAGES],
        "best_images": run.images[: -_IMAGES - 1 : -1],
        "timing": _timing(run.log),
        "config": run.config.text() if run.config is not None else "",
    }


def _figures(run: Run, limit: int) -> list[dict[str, str]]:
    """Returns caption and data address of the figures. One that does not fit into `limit` bytes together with
    those before it has the address "" and the path of its file instead."""
    images: list[tuple[str, Image.Image, str]] = []
    for name, caption in _CAPTIONS.items():
        if name in run.figures:
            with Image.open(run.figures[name]) as opened:
                images.append((caption, opened.convert("RGB"), str(run.figures[name])))
    for caption, records in (("Worst images", run.images[:_SHOWN]), ("Best images", run.images[-_SHOWN:])):
        drawn = draw_examples(run, [record["name"] for record in records])
        if drawn is not None:
            images.append((caption, drawn, str(run.folder / MASKS)))
    found = []
    for caption, image, path in images:
        buffer = io.BytesIO()
        image.save(buffer, format="JPEG", quality=_JPEG_QUALITY)
        content = base64.b64encode(buffer.getvalue()).decode()
        shown = len(content) <= limit
        limit -= len(content) if shown else 0
        source = f"data:image/jpeg;base64,{content}" if shown else ""
        found.append({"caption": caption, "source": source, "path": path})
    return found


def _timing(log: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Returns the median seconds of an iteration, the part that waited for data, and the peak memory."""
    records = [record for record in log if record.get("seconds")]
    if not records:
        return {}
    found = {
        "seconds": statistics.median(record["seconds"] for record in records),
        "data_seconds": statistics.median(record.get("data_seconds") or 0.0 for record in records),
    }
    for key in ("memory_mb", "gpu_memory_mb"):
        values = [record[key] for record in records if record.get(key)]
        if values:
            found[key] = max(values)
    return found


def _comparison(groups: Sequence[Group]) -> dict[str, Any]:
    """Returns the comparison of the groups, with differences to the first one."""
    chart = svg(score_groups([(group.name, group.scores) for group in groups]), "comparison", "Scores")
    first = groups[0]
    return {
        "groups": groups,
        "chart": chart,
        "classes": [_class_changes(first, group) for group in groups[1:]],
        "configs": [
            {
                "name": group.name,
                "changes": [
                    item
                    for item in differences(first.runs[0].config or {}, group.runs[0].config or {})
                    if item.key not in ("work_dir", "seed")
                ],
            }
            for group in groups[1:]
        ],
    }


def _class_changes(first: Group, other: Group) -> dict[str, Any]:
    """Returns the classes whose mean IoU differs most between two groups."""
    before, after = _class_means(first), _class_means(other)
    unseen = {row["name"] for row in other.runs[0].per_class if row.get("unseen")}
    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "unseen": name in unseen,
            "before": before[name],
            "after": after[name],
            "change": after[name] - before[name],
        }
        for name in before
        if name in after
    ]
    rows.sort(key=lambda row: -abs(row["change"]))
    return {"name": other.name, "base": first.name, "rows": rows[:_CHANGED_CLASSES], "total": len(rows)}


def _class_means(group: Group) -> dict[str, float]:
    """Returns class -> mean IoU over the runs, for classes that have one in all of them."""
    found: dict[str, list[float]] = {}
    for run in group.runs:
        for row in run.per_class:
            if row["iou"] is not None:
                found.setdefault(row["name"], []).append(row["iou"])
    return {
        name: statistics.fmean(values) for name, values in found.items() if len(values) == len(group.runs)
    }
