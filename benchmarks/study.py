"""Trains every row of a study with several seeds, and prints its tables.

    jseg zeroshapes --out data/zeroshapes
    python benchmarks/study.py zeroshapes --seeds 0 1 2 --jobs 2
    python benchmarks/study.py zeroshapes --seeds      # no training: only the tables of the finished runs

Every finished run is one JSON line of `--out` (benchmarks/NAME.jsonl), and a run that has its line there is
not repeated. An interrupted run resumes from its last checkpoint. All rows take their turn on a seed before
the next seed, so that any number of finished rounds compares like with like. A row that occurs in several
tables is trained once. Tables show mean ± standard deviation over the seeds, in percent, beside the numbers
of the paper, which belong to PASCAL VOC. The last table compares pairs of rows of which the paper finds one
better: mean ± standard error of the differences of runs with the same seed.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from study_rows import CLAIMS, STUDIES, Row

from jseg.config import Config
from jseg.config.headers import header_fields, paper_numbers
from jseg.runtime.command import exit_status, prove_writable

MIN_SEEDS = 3  # fewer differences say too little about their spread
SCORES = ("pAcc", "mIoU(S)", "mIoU(U)", "hIoU")


class Run(NamedTuple):
    """A training run. `digest` identifies the config with its overrides: another text is another run."""

    config: str
    overrides: tuple[str, ...]
    seed: int
    digest: str

    @property
    def name(self) -> str:
        """Name of its folder and log."""
        return f"{Path(self.config).stem}_{self.digest}_seed{self.seed}"

    def line(self, metrics: Mapping[str, Any]) -> str:
        """The JSON line of the finished run."""
        return json.dumps({**self._asdict(), **{score: metrics[score] for score in SCORES}})


def run_of(row: Row, seed: int) -> Run:
    """The run of a row with a seed.

    Raises:
        ValueError, OSError: if the config cannot be read or has no such key.
    """
    cfg = Config.load(str(ROOT / "configs" / row.config), list(row.overrides))
    return Run(row.config, row.overrides, seed, hashlib.sha256(cfg.text().encode()).hexdigest()[:10])


def finished(path: Path) -> dict[Run, dict[str, float]]:
    """The runs that have their line in a file, with their scores.

    Raises:
        ValueError: a line cannot be read; names it.
    """
    runs = {}
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for number, text in enumerate(lines, start=1):
        try:
            line = json.loads(text)
            run = Run(line["config"], tuple(line["overrides"]), line["seed"], line["digest"])
            runs[run] = {score: float(line[score]) for score in SCORES}
        except (ValueError, KeyError, TypeError) as problem:
            raise ValueError(
                f"{path}, line {number} is not that of a finished run; remove it and run again"
            ) from problem
    return runs


def train(
    config: Path, seed: int, work_dir: Path, overrides: Sequence[str], threads: int, *more: str
) -> None:
    """Trains with the command line, which gets `more` arguments; its output goes to `<work_dir>.log`.

    Raises:
        ChildProcessError: if the run failed; the message names its log.
    """
    command = [sys.executable, str(ROOT / "tools/run_net.py"), "--config", str(config), "--task", "train"]
    command += ["--seed", str(seed), "--work-dir", str(work_dir), *more]
    command += ["--set", *overrides] if overrides else []
    work_dir.parent.mkdir(parents=True, exist_ok=True)
    log = work_dir.parent / f"{work_dir.name}.log"
    with log.open("w", encoding="utf-8") as file:
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        status = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, env=environment).returncode
    if status:
        raise ChildProcessError(f"{work_dir.name}: exit status {status}; see {log}")


def measure(run: Run, start: Run | None, work_root: Path, threads: int) -> dict[str, Any]:
    """Trains, or resumes a run that was interrupted, and returns the content of metrics.json.

    Args:
        start: the run at whose half this one starts; it is trained first if its checkpoint is missing.
    """
    config = ROOT / "configs" / run.config
    work_dir = work_root / run.name
    overrides = [*run.overrides, "checkpoint_interval=500", "visualize.num_images=0"]
    if start is not None:
        half = Path(Config.load(str(config))["init_from"]).name
        checkpoint = work_root / start.name / "checkpoints" / half
        if not checkpoint.is_file():
            measure(start, None, work_root, threads)
        overrides.append(f"init_from={checkpoint}")
    else:
        overrides.append("keep_checkpoints=100")  # a later run may start from any
    train(config, run.seed, work_dir, overrides, threads, "--resume", "auto")
    return json.loads((work_dir / "metrics.json").read_text(encoding="utf-8"))


def table(rows: Sequence[Row], runs: Mapping[Run, Mapping[str, float]]) -> str:
    """A Markdown table with a line for each row that has a finished run; empty without any."""
    lines = []
    for row in rows:
        wanted = run_of(row, 0)._replace(seed=-1)
        values = [
            [scores[name] for name in SCORES]
            for run, scores in runs.items()
            if run._replace(seed=-1) == wanted
        ]
        if values:
            array = np.array(values)
            cells = [f"{mean:.1f} ± {std:.1f}" for mean, std in zip(array.mean(0), array.std(0))]
            lines.append(f"| {row.label} | {len(values)} | {' | '.join(cells)} | {_paper(row)} |")
    if not lines:
        return ""
    head = f"| {rows[0].table} | seeds | {' | '.join(SCORES)} | paper's mIoU(U), hIoU |"
    return "\n".join([head, "|---" * (len(SCORES) + 3) + "|", *lines])


def _paper(row: Row) -> str:
    if row.paper is None:
        return "–"
    numbers = paper_numbers(header_fields(ROOT / "configs" / row.paper))
    return f"{numbers['mIoU(U)']:.1f}, {numbers['hIoU']:.1f}" if "hIoU" in numbers else "–"


def comparisons(rows: Sequence[Row], runs: Mapping[Run, Mapping[str, float]]) -> str:
    """A Markdown table of the claims of the paper about pairs of rows that share at least two seeds.

    A claim is found true or reversed if mIoU(U) differs by more than two standard errors in at least
    `MIN_SEEDS` pairs of runs; empty without such a pair.
    """
    by_label, lines = {row.label: row for row in rows}, []
    for claim in CLAIMS:
        if not {claim.better, claim.worse} <= by_label.keys():
            continue
        pair = [by_label[claim.better], by_label[claim.worse]]
        better, worse = (
            {run.seed: runs[run] for run in runs if run == run_of(row, run.seed)} for row in pair
        )
        seeds = sorted(better.keys() & worse.keys())
        if len(seeds) < 2:
            continue
        array = np.array(
            [[better[seed][name] - worse[seed][name] for name in ("mIoU(U)", "hIoU")] for seed in seeds]
        )
        means, errors = array.mean(0), array.std(0, ddof=1) / len(seeds) ** 0.5
        cells = [f"{mean:+.1f} ± {error:.1f}" for mean, error in zip(means, errors)]
        found = "no clear difference" if len(seeds) >= MIN_SEEDS else "too few seeds"
        if len(seeds) >= MIN_SEEDS and abs(means[0]) > 2 * errors[0]:
            found = "yes" if means[0] > 0 else "no, reversed"
        papers = _paper_difference(*pair)
        lines.append(
            f"| {claim.source}: {claim.better} over {claim.worse} | {len(seeds)} | {' | '.join(cells)} | "
            f"{papers} | {found} |"
        )
    head = "| the paper's claim | seeds | mIoU(U) | hIoU | paper's mIoU(U), hIoU | found |"
    return "\n".join([head, "|---|---:|---:|---:|---:|---|", *lines]) if lines else ""


def _paper_difference(better: Row, worse: Row) -> str:
    if better.paper is None or worse.paper is None:
        return "–"
    first, second = (paper_numbers(header_fields(ROOT / "configs" / row.paper)) for row in (better, worse))
    known = [name for name in ("mIoU(U)", "hIoU") if name in first and name in second]
    return ", ".join(f"{first[name] - second[name]:+.1f}" for name in known) or "–"


def missing(rows: Sequence[Row], seeds: Sequence[int], done: Mapping[Run, Any]) -> Iterator[tuple[Row, Run]]:
    """The runs that have no line yet, each once, in the order in which they are trained."""
    seen = set(done)
    for seed in seeds:
        for row in rows:
            run = run_of(row, seed)
            if run not in seen:
                seen.add(run)
                yield row, run


def report(arguments: argparse.Namespace) -> int:
    """Makes the missing runs, prints the tables and returns the exit status.

    Raises:
        OSError: a run failed, or `arguments.out` cannot be written, which is checked before training.
        ValueError: `arguments.out` holds another kind of line.
    """
    rows, lock = STUDIES[arguments.study], Lock()
    out = arguments.out or ROOT / "benchmarks" / f"{arguments.study}.jsonl"
    work_root = arguments.work_root or Path("work_dirs") / f"study_{arguments.study}"
    prove_writable(out)
    threads = max(1, len(os.sched_getaffinity(0)) // arguments.jobs)
    by_label = {row.label: row for row in rows}

    def make(row: Row, run: Run) -> None:
        start = run_of(by_label[row.starts_from], run.seed) if row.starts_from else None
        line = run.line(measure(run, start, work_root, threads))
        with lock, out.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
            print(line, flush=True)

    # Rows that start from another run come after it, so that two threads do not train the same run.
    wanted = list(missing(rows, arguments.seeds, finished(out)))
    for late in (False, True):
        with ThreadPoolExecutor(arguments.jobs) as pool:
            chosen = [pair for pair in wanted if bool(pair[0].starts_from) == late]
            for _ in pool.map(lambda pair: make(*pair), chosen):
                pass
    runs = finished(out)
    for title in dict.fromkeys(row.table for row in rows):
        text = table([row for row in rows if row.table == title], runs)
        if text:
            print("\n" + text)
    text = comparisons(rows, runs)
    if text:
        print("\n" + text)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("study", choices=tuple(STUDIES))
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2], help="none: print the tables only")
    parser.add_argument("--jobs", type=int, default=1, help="runs in parallel, which share the cores")
    parser.add_argument("--work-root", type=Path, help="default: work_dirs/study_NAME")
    parser.add_argument("--out", type=Path, help="JSON lines; default: benchmarks/NAME.jsonl")
    arguments = parser.parse_args()
    if arguments.jobs < 1:
        parser.error("--jobs must be at least 1")
    return exit_status(lambda: report(arguments))


if __name__ == "__main__":
    sys.exit(main())
