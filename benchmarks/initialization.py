"""Compares four starts of CLIP-RC on ZeroShapes: two kinds of initial values, each with and without dropout
inside the feed-forward parts.

    python tools/make_zeroshapes.py --out data/zeroshapes
    python benchmarks/initialization.py --seeds 0 1 2 3

Every finished run is one JSON line of `--out`, and a run that has its line there is not repeated. An
interrupted run resumes from its last checkpoint. All four starts take their turn on a seed before the next
seed, so that any number of finished rounds compares like with like. Seeds may be shared out among several
calls with the same `--out`. At the end the table of all lines is printed: mean ± standard deviation over the
seeds, in percent.
"""

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from study import SCORES, train

from jseg.runtime.command import exit_status, prove_writable

CONFIG = ROOT / "configs/clip_rc/zeroshapes_inductive.py"


class Start(NamedTuple):
    """Values of `init`, and of `decode_head.feed_forward_dropout`."""

    init: str
    feed_forward_dropout: float


STARTS = tuple(Start(init, rate) for init in ("designed", "released") for rate in (0.0, 0.1))


class Run(NamedTuple):
    """What tells one run from the others."""

    start: Start
    seed: int
    iterations: int

    def line(self, metrics: dict[str, Any]) -> str:
        """The JSON line of the finished run."""
        scores = {score: metrics[score] for score in SCORES}
        return json.dumps(
            {**self.start._asdict(), "seed": self.seed, "iterations": self.iterations, **scores}
        )


def finished(path: Path) -> dict[Run, dict[str, Any]]:
    """The runs that have their line in a file, with what the line says.

    Raises:
        ValueError: a line cannot be read; names it.
    """
    if not path.exists():
        return {}
    runs = {}
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            line = json.loads(text)
            start = Start(line["init"], line["feed_forward_dropout"])
            runs[Run(start, line["seed"], line["iterations"])] = {
                score: line[score] for score in SCORES
            } | line
        except (ValueError, KeyError, TypeError) as problem:
            raise ValueError(
                f"{path}, line {number} is not that of a finished run; remove it and run again"
            ) from problem
    return runs


def measure(run: Run, work_root: Path, threads: int) -> dict[str, Any]:
    """Trains, or resumes a run that was interrupted, and returns the content of metrics.json."""
    init, rate = run.start
    work_dir = work_root / f"{init}_{rate}_seed{run.seed}_{run.iterations}"
    overrides = [
        f"model.backbone.init={init}",
        f"model.decode_head.init={init}",
        f"model.decode_head.feed_forward_dropout={rate}",
        f"max_iters={run.iterations}",
        "eval_interval=None",
        "checkpoint_interval=500",
        "keep_checkpoints=1",
        "visualize.num_images=0",
    ]
    train(CONFIG, run.seed, work_dir, overrides, threads, "--resume", "auto")
    return json.loads((work_dir / "metrics.json").read_text(encoding="utf-8"))


def table(runs: Iterable[tuple[Run, dict[str, Any]]], iterations: int) -> str:
    """A Markdown table with a row for each start that has a finished run of so many iterations."""
    lines = [
        "| init | feed_forward_dropout | seeds | " + " | ".join(SCORES) + " |",
        "|---|---|---|---|---|---|---|",
    ]
    chosen = [(run, scores) for run, scores in runs if run.iterations == iterations]
    for start in STARTS:
        values = np.array([[scores[name] for name in SCORES] for run, scores in chosen if run.start == start])
        if len(values):
            cells = [
                f"{mean:.1f} ± {deviation:.1f}" for mean, deviation in zip(values.mean(0), values.std(0))
            ]
            lines.append(
                f"| {start.init} | {start.feed_forward_dropout} | {len(values)} | {' | '.join(cells)} |"
            )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--seeds", type=int, nargs="*", default=[0, 1, 2, 3], help="none: print the table only"
    )
    parser.add_argument("--iterations", type=int, default=6000)
    parser.add_argument("--threads", type=int, default=1, help="of a run")
    parser.add_argument("--work-root", type=Path, default=Path("work_dirs/initialization"))
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/initialization.jsonl")
    arguments = parser.parse_args()
    if arguments.iterations < 1 or arguments.threads < 1:
        parser.error("--iterations and --threads must be at least 1")
    return exit_status(lambda: report(arguments))


def report(arguments: argparse.Namespace) -> int:
    """Makes the missing runs, prints the table and returns the exit status.

    Raises:
        OSError: a run failed, or `arguments.out` cannot be written, which is checked before training.
        ValueError: `arguments.out` holds another kind of line.
    """
    prove_writable(arguments.out)
    for seed in arguments.seeds:
        for start in STARTS:
            run = Run(start, seed, arguments.iterations)
            if run in finished(arguments.out):
                continue
            line = run.line(measure(run, arguments.work_root, arguments.threads))
            with arguments.out.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
            print(line, flush=True)
    print(table(finished(arguments.out).items(), arguments.iterations))
    return 0


if __name__ == "__main__":
    sys.exit(main())
