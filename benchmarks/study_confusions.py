"""Where the pixels of unseen and of seen words go, in the runs of a study.

    python benchmarks/study_confusions.py zerowords --work-root work_dirs/study_zerowords

IoU mixes how well a model tells words apart with how often it takes a seen word for an unseen one, on which
the seen bias has much influence. This table separates them. For pixels of unseen words: how many are given to
any unseen word, and of those, how many to the right one; likewise for seen words. Means over the finished
runs of benchmarks/NAME.jsonl whose confusion.json is in the work folder, in percent.
"""

import argparse
import json
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from study import finished, run_of
from study_rows import STUDIES

from jseg.drawn import DRAWN
from jseg.runtime.command import exit_status


def shares(matrix: np.ndarray, chosen: np.ndarray) -> tuple[float, float]:
    """Of the pixels of the classes `chosen` in a confusion matrix (truth, prediction): which part is given to
    any of them, and which part of that to the right one."""
    inside = matrix[np.ix_(chosen, chosen)]
    return inside.sum() / matrix[chosen].sum(), np.trace(inside) / max(inside.sum(), 1)


def report(arguments: argparse.Namespace) -> int:
    """Prints the table and returns the exit status.

    Raises:
        ValueError: if the folder has no confusion matrix of the study.
    """
    unseen = np.isin(range(len(DRAWN[arguments.study].classes.names)), DRAWN[arguments.study].classes.unseen)
    lines = []
    for row in STUDIES[arguments.study]:
        values = []
        for run in finished(arguments.runs or ROOT / "benchmarks" / f"{arguments.study}.jsonl"):
            path = arguments.work_root / run.name / "confusion.json"
            if run == run_of(row, run.seed) and path.exists():
                matrix = np.array(json.loads(path.read_text(encoding="utf-8"))["matrix"], np.float64)
                values.append(
                    [*shares(matrix, np.flatnonzero(unseen)), *shares(matrix, np.flatnonzero(~unseen))]
                )
        if values:
            cells = " | ".join(f"{100 * value:.1f}" for value in np.mean(values, axis=0))
            lines.append(f"| {row.table.partition(':')[0]}: {row.label} | {len(values)} | {cells} |")
    if not lines:
        raise ValueError(f"{arguments.work_root} has no confusion.json of the study; see benchmarks/study.py")
    print("| row | seeds | unseen: given to unseen | of those right | seen: given to seen | of those right |")
    print("|---|---:|---:|---:|---:|---:|")
    print("\n".join(lines))
    return 0


def main() -> int:
    """Reads the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", choices=tuple(STUDIES))
    parser.add_argument("--work-root", type=Path, required=True, help="that of benchmarks/study.py")
    parser.add_argument("--runs", type=Path, help="JSON lines of benchmarks/study.py; default: those of jseg")
    return exit_status(lambda: report(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
