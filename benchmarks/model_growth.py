"""Measures how CLIP-RC grows with its regions, its classes and the size of the image, and draws charts of it.

    python benchmarks/model_growth.py benchmarks/growth.jsonl docs/images/growth.png --torch-python PYTHON
    python benchmarks/model_growth.py benchmarks/growth.jsonl docs/images/growth.png      # only draws

The sizes are those of PASCAL VOC, but for one of them. Every point is measured as `model.py` does, and is
one JSON line of the first file; a point that has its line there is not measured again. Charts show medians of
seconds, and peak memory in training. Needs matplotlib (`pip install 'jseg[report]'`).
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from model import measure
from model_sizes import Sizes

from jseg.runtime.command import exit_status, prove_writable
from jseg.runtime.machine import cpu_name

KINDS = ("inference", "training")
AXES = {
    "regions": ("number of regions M", (1, 4, 16, 64, 256, 1024)),
    "classes": ("number of classes C", (4, 20, 60, 171)),
    "size": ("side of the image in pixels", (256, 384, 512, 640)),
}
LARGEST = {"inference": 1024, "training": 256}  # M; more would take PyTorch minutes for each point
COLOURS = {"jseg": "#d55e00", "sdpa": "#0072b2", "release": "#2d343c"}
CHARTS = (
    ("inference", "seconds", "inference, s"),
    ("training", "seconds", "training step, s"),
    ("training", "peak_mib", "training step, peak MiB"),
)


def sizes_along(axis: str, kind: str) -> list[Sizes]:
    """The sizes of PASCAL VOC with one of them replaced; three of four classes are seen."""
    changed = [{axis: value} for value in AXES[axis][1]]
    if axis == "classes":
        changed = [{"classes": value, "seen": value * 3 // 4} for value in AXES[axis][1]]
    sizes = [Sizes()._replace(**each) for each in changed]
    return [each for each in sizes if each.regions <= LARGEST[kind]]


def read_points(path: Path) -> dict[tuple[str, Sizes], list[dict[str, Any]]]:
    """The rows of all measured points.

    Raises:
        ValueError: a line cannot be read; names it.
    """
    points = {}
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for number, text in enumerate(lines, start=1):
        try:
            line = json.loads(text)
            points[line["kind"], Sizes(**line["sizes"])] = line["rows"]
        except (ValueError, KeyError, TypeError) as problem:
            raise ValueError(f"{path}, line {number} is not a measured point; remove it") from problem
    return points


def missing(points: Mapping[tuple[str, Sizes], Any]) -> Iterator[tuple[str, Sizes]]:
    """The points that are not measured yet, each once."""
    wanted = dict.fromkeys(
        (kind, sizes) for kind in KINDS for axis in AXES for sizes in sizes_along(axis, kind)
    )
    return (point for point in wanted if point not in points)


def measure_missing(options: argparse.Namespace) -> None:
    """Adds a line to `options.points` for each point that has none."""
    for kind, sizes in missing(read_points(options.points)):
        print(f"{kind}: {', '.join(f'{k} {v}' for k, v in sizes._asdict().items())}", flush=True)
        how = dict(kind=kind, baseline=None, precision="float32", breakdown=False, checkpoint_blocks=False)
        rows = measure(argparse.Namespace(**{**vars(options), **how}), sizes)
        if kind == "inference":  # mostly that of probabilities at full size, which evaluation does not make
            for row in rows:
                del row["peak_mib"]
        line = {"kind": kind, "sizes": sizes._asdict(), "cpu": cpu_name(), "rows": rows}
        with options.points.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


def draw(points: Mapping[tuple[str, Sizes], list[dict[str, Any]]], path: Path) -> None:
    """Draws a row of charts for each of CHARTS and a column for each of AXES into a PNG file."""
    from matplotlib.figure import Figure

    from jseg.visualization.files import save_figure

    figure = Figure(figsize=(11, 9), dpi=100, layout="constrained")
    for row, (kind, key, label) in zip(figure.subplots(len(CHARTS), len(AXES)), CHARTS):
        for axes, (axis, (name, _)) in zip(row, AXES.items()):
            known = [sizes for sizes in sizes_along(axis, kind) if (kind, sizes) in points]
            for contender, colour in COLOURS.items():
                values = {
                    getattr(sizes, axis): found[key]
                    for sizes in known
                    for found in points[kind, sizes]
                    if found["contender"] == contender
                }
                axes.plot(list(values), list(values.values()), "o-", color=colour, label=contender)
            axes.set(xlabel=name, ylabel=label, xscale="log", yscale="log")
            ticks = AXES[axis][1]
            axes.set_xticks(ticks, [str(tick) for tick in ticks])
            axes.set_xticks([], minor=True)
            axes.yaxis.set_major_formatter("{x:g}")
            axes.yaxis.set_minor_formatter(lambda x, _: f"{x:g}" if f"{x:e}"[0] in "235" else "")
            axes.grid(alpha=0.3, which="both")
            axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].legend(frameon=False)
    save_figure(figure, path)


def run(options: argparse.Namespace) -> int:
    """Measures what is missing if there is a Python with PyTorch, and draws."""
    prove_writable(options.picture)
    if options.torch_python:
        measure_missing(options)
    points = read_points(options.points)
    if not points:
        raise ValueError(f"{options.points} has no points yet; measure with --torch-python")
    draw(points, options.picture)
    return 0


def main() -> int:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("points", type=Path, help="JSON lines of the measured points, read and added to")
    parser.add_argument("picture", type=Path, help="PNG file to draw")
    parser.add_argument("--torch-python", help="Python that has PyTorch (default: nothing is measured)")
    parser.add_argument("--runs", type=int, default=3, help="measured calls of each contender (default 3)")
    options = parser.parse_args()
    if options.runs < 1:
        parser.error("--runs must be at least 1")
    return exit_status(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
