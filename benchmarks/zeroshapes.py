"""Makes the ZeroShapes table of three settings and the baseline over several seeds, with the command line.

    python benchmarks/zeroshapes.py --seeds 0 1 2 --jobs 2 --out benchmarks/zeroshapes.json

Each run is `tools/run_net.py --config configs/clip_rc/zeroshapes_<name>.py --task train --seed S`. A run that
has finished in its work folder with the same config and options is not repeated. The seed determines the
initial weights, the order of the images and dropout. The images and the pretrained CLIP stay the same. The
script prints mean ± standard deviation over the seeds, in percent.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from jseg.config import Config
from jseg.runtime.command import exit_status, prove_writable

NAMES = ("inductive", "transductive", "full", "baseline")
SCORES = ("pAcc", "mIoU(S)", "mIoU(U)", "hIoU")


def run(name: str, seed: int, work_root: Path, extra: Sequence[str], threads: int) -> dict[str, Any]:
    """Trains once and returns the content of metrics.json.

    Raises:
        ChildProcessError: if the run failed; the message names its log.
    """
    work_dir = work_root / f"{name}_seed{seed}"
    metrics = work_dir / "metrics.json"
    config = ROOT / f"configs/clip_rc/zeroshapes_{name}.py"
    overrides = list(extra)
    if name == "transductive":
        half = Path(Config.load(str(config))["init_from"]).name
        overrides.append(f"init_from={work_root / f'inductive_seed{seed}' / 'checkpoints' / half}")
    # Identifies the run, since another config or another option makes another run.
    wanted = json.dumps([Config.load(str(config)).text(), overrides])
    done = work_dir / "done"
    if not done.exists() or done.read_text(encoding="utf-8") != wanted:
        train(config, seed, work_dir, overrides, threads)
        done.write_text(wanted, encoding="utf-8")
    return json.loads(metrics.read_text(encoding="utf-8"))


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


def table(results: dict[tuple[str, int], dict[str, Any]], names: Sequence[str], seeds: Sequence[int]) -> str:
    """Formats a Markdown table with a row for each config and mean ± standard deviation of each score."""
    lines = [
        f"| ZeroShapes, {len(seeds)} seeds | " + " | ".join(SCORES) + " |",
        "|---" * (len(SCORES) + 1) + "|",
    ]
    for name in names:
        values = np.array([[results[name, seed][score] for score in SCORES] for seed in seeds], dtype=float)
        cells = [f"{mean:.1f} ± {std:.1f}" for mean, std in zip(values.mean(0), values.std(0))]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--names", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--jobs", type=int, default=1, help="runs in parallel, which share the cores")
    parser.add_argument("--work-root", type=Path, default=Path("work_dirs/zeroshapes_table"))
    parser.add_argument("--out", type=Path, help="also write all scores to this JSON file")
    parser.add_argument(
        "--set", dest="overrides", nargs="+", default=[], metavar="KEY=VALUE", help="overrides for every run"
    )
    arguments = parser.parse_args()
    if arguments.jobs < 1:
        parser.error("--jobs must be at least 1")
    return exit_status(lambda: report(arguments))


def report(arguments: argparse.Namespace) -> int:
    """Trains missing runs, prints the table and returns the exit status.

    Raises:
        OSError: if a run failed, or `arguments.out` cannot be written, which is checked before training.
    """
    if arguments.out:
        prove_writable(arguments.out)
    threads = max(1, len(os.sched_getaffinity(0)) // arguments.jobs)
    # A transductive run starts from its inductive one, so the transductive runs come last.
    order: list[tuple[str, int]] = [
        (name, seed)
        for name in sorted(arguments.names, key=lambda n: n == "transductive")
        for seed in arguments.seeds
    ]
    results: dict[tuple[str, int], dict[str, Any]] = {}
    for late in (False, True):
        chosen = [pair for pair in order if (pair[0] == "transductive") == late]
        with ThreadPoolExecutor(arguments.jobs) as pool:
            outcome = pool.map(
                lambda pair: run(*pair, arguments.work_root, arguments.overrides, threads), chosen
            )
            for pair, metrics in zip(chosen, outcome):
                results[pair] = metrics
                print(
                    f"{pair[0]} seed {pair[1]}: " + "  ".join(f"{s} {metrics[s]:.2f}" for s in SCORES),
                    flush=True,
                )
    print("\n" + table(results, arguments.names, arguments.seeds))
    if arguments.out:
        rows = [
            {"config": name, "seed": seed, **{score: metrics[score] for score in SCORES}}
            for (name, seed), metrics in sorted(results.items())
        ]
        arguments.out.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
