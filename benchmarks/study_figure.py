"""Draws the finished runs of a study beside the numbers of the paper.

    python benchmarks/study_figure.py zerowords docs/images/zerowords_study.png

A dot is a run, a bar the mean of the seeds: IoU of unseen classes in red, of seen classes in grey. The paper
has one number for each row, from PASCAL VOC, on a scale of its own. Needs matplotlib (`pip install
'jseg[report]'`).
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from study import Run, finished, run_of
from study_rows import STUDIES, Row

from jseg.config.headers import header_fields, paper_numbers
from jseg.runtime.command import exit_status, prove_writable

COLOURS = {"mIoU(S)": "#8b929a", "mIoU(U)": "#d62728"}


def tables_of(rows: Sequence[Row], runs: Mapping[Run, Mapping[str, float]]) -> dict[str, list[tuple]]:
    """Heading -> (row, scores of its runs) of each row that has a finished run."""
    tables: dict[str, list[tuple]] = {}
    for row in rows:
        found = [scores for run, scores in runs.items() if run == run_of(row, run.seed)]
        if found:
            tables.setdefault(row.table, []).append((row, found))
    return tables


def draw(tables: Mapping[str, list[tuple]], path: Path) -> None:
    """Draws a row of two charts for each table: this study, and the paper."""
    from matplotlib.figure import Figure

    from jseg.visualization.files import save_figure

    heights = [len(rows) + 1 for rows in tables.values()]
    figure = Figure(figsize=(10, 0.36 * sum(heights)), dpi=100, layout="constrained")
    grid = figure.subplots(
        len(tables), 2, gridspec_kw={"height_ratios": heights}, squeeze=False, sharex="col"
    )
    for (ours, paper), (title, rows) in zip(grid, tables.items()):
        for place, (row, found) in enumerate(rows):
            for name, colour in COLOURS.items():
                values = [scores[name] for scores in found]
                ours.plot(values, [place] * len(values), "o", color=colour, markersize=4, alpha=0.6)
                ours.plot([np.mean(values)] * 2, [place - 0.3, place + 0.3], color=colour, label=name)
                known = paper_numbers(header_fields(ROOT / "configs" / row.paper)) if row.paper else {}
                if name in known:
                    paper.plot([known[name]], [place], "D", color=colour, markersize=5)
        ours.set_yticks(range(len(rows)), [row.label for row, _ in rows])
        paper.set_yticks(range(len(rows)), [])
        ours.set_title(title, loc="left", fontsize=10)
        for axes in (ours, paper):
            axes.set_ylim(len(rows) - 0.5, -0.5)
            axes.grid(alpha=0.3)
            axes.spines[["top", "right"]].set_visible(False)
    grid[0, 1].set_title("paper, PASCAL VOC", loc="left", fontsize=10)
    for axes in grid[-1]:
        axes.set_xlabel("mean IoU, %")
    handles, labels = grid[0, 0].get_legend_handles_labels()
    grid[0, 0].legend(handles[:2], labels[:2], frameon=False)
    save_figure(figure, path)


def run(options: argparse.Namespace) -> int:
    """Reads the runs and draws them.

    Raises:
        ValueError: if there is no finished run, or a line of the file cannot be read.
        OSError: if the picture cannot be written.
    """
    prove_writable(options.picture)
    path = options.runs or ROOT / "benchmarks" / f"{options.study}.jsonl"
    tables = tables_of(STUDIES[options.study], finished(path))
    if not tables:
        raise ValueError(f"{path} has no run of the study; run benchmarks/study.py {options.study} first")
    draw(tables, options.picture)
    return 0


def main() -> int:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", choices=tuple(STUDIES))
    parser.add_argument("picture", type=Path, help="PNG file to draw")
    parser.add_argument("--runs", type=Path, help="JSON lines of benchmarks/study.py; default: those of jseg")
    return exit_status(lambda: run(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
