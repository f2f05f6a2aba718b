"""Reproduce a row of the paper's tables: train, evaluate, and compare with the paper.

    jseg reproduce                               # list all rows
    jseg reproduce table1 --row voc2012
    jseg reproduce table2 --row voc2012 --seeds 0 1 2
    jseg reproduce table1 --row coco-stuff --checkpoint RELEASED.pth

Data and weights are checked first. If they are missing, the command to download them is printed, or they are
downloaded with --download. Transductive rows need the inductive run at half its length, and Table 4 needs the
inductive run on COCO-Stuff; these are trained first. After an interruption, the same command continues. For
several processes, use `mpirun -n 8 jseg reproduce ...`.
"""

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from jseg.checkpoints import read_tensors
from jseg.checkpoints.run_metadata import saved_config
from jseg.cli import run_net
from jseg.cli.download import add_download_options, download_clip, download_dataset
from jseg.cli.output import Record, add_output_options, command_status
from jseg.datasets import configured_root
from jseg.datasets.prepare import BENCHMARKS, Work, survey
from jseg.download import CLIP_NAMES, Settings
from jseg.files import expanded, find_file
from jseg.reproduce import TABLES, Result, Row, Step, compare, deviations, find_row, origin, plan, rows
from jseg.reproduce.comparison import TOLERANCE
from jseg.runtime.command import USER_ERROR, say
from jseg.runtime.device import add_device_options
from jseg.runtime.selection import select_device

_BENCHMARK = {"VOCDataset": "voc2012", "PascalContextDataset": "context", "COCOStuffDataset": "coco_stuff"}
_RANK = os.environ.get("OMPI_COMM_WORLD_RANK")  # under mpirun

Value = TypeVar("Value")


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", nargs="?", choices=tuple(TABLES), help="default: list all rows")
    parser.add_argument("--row", help="default: list the rows of the table")
    parser.add_argument(
        "--from",
        dest="source",
        choices=("data", "checkpoint"),
        help="train from data, or evaluate a checkpoint (default: data, or checkpoint with --checkpoint)",
    )
    parser.add_argument(
        "--checkpoint", type=expanded, metavar="FILE", help="released checkpoint, or one of jseg"
    )
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="+",
        metavar="N",
        help="seeds of the runs (default: the seed of the config, 0)",
    )
    parser.add_argument(
        "--root", metavar="DIR", help="folder of the datasets (default: $JSEG_DATA_ROOT, else data)"
    )
    parser.add_argument("--any-count", action="store_true", help="accept incomplete datasets")
    parser.add_argument(
        "--download", action="store_true", help="download the data and weights that are missing"
    )
    add_download_options(parser)
    parser.add_argument(
        "--tolerance",
        type=float,
        default=TOLERANCE,
        metavar="POINTS",
        help="accepted difference from the paper (default: %(default)s)",
    )
    run_net.add_overrides(parser, "override config keys of all runs; the result is then not comparable")
    add_output_options(parser, "one object for each row, or the paper's numbers and the results of a row")
    add_device_options(parser)
    return parser


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line and checks options that depend on each other."""
    parser = make_parser()
    arguments = parser.parse_args(argv)
    if arguments.row is not None and arguments.table is None:
        parser.error("--row needs a table")
    if arguments.checkpoint is not None and arguments.source == "data":
        parser.error("--checkpoint is for --from checkpoint")
    if arguments.checkpoint is None and arguments.source == "checkpoint":
        parser.error("--from checkpoint needs --checkpoint FILE, a released checkpoint or one of jseg")
    if arguments.checkpoint is not None and len(arguments.seeds or ()) > 1:
        parser.error("--seeds is only for training")
    if len(set(arguments.seeds or ())) < len(arguments.seeds or ()):
        parser.error("--seeds: a seed is given twice, and would count twice")
    if not arguments.tolerance >= 0:  # NaN fails too
        parser.error("--tolerance must be 0 or more")
    if arguments.connections < 1:
        parser.error("--connections must be at least 1")
    return arguments


def show_rows(found: Sequence[Row], record: Record) -> None:
    """Prints the rows with their configs and the numbers of the paper."""
    for row in found:
        numbers = ", ".join(f"{name} {value:.1f}" for name, value in row.paper.items()) or "out of memory"
        print(f"{row.table} --row {row.name:20}  {row.config.stem:36}  paper: {numbers}")
        record({"table": row.table, "row": row.name, "config": row.config.name, "paper": row.paper})


def require_data(steps: Sequence[Step], arguments: argparse.Namespace) -> None:
    """Checks the datasets of all steps, and downloads missing ones with --download.

    Raises:
        ValueError: if a dataset is missing or incomplete.
    """
    configs = [step.load() for step in steps]
    wanted = {_BENCHMARK[part["type"]] for config in configs for part in config.dataset.values() if part}
    root = Path(configured_root(arguments.root if arguments.root is not None else configs[0].data_root))
    work = Work(root, root, len(os.sched_getaffinity(0)), arguments.any_count)
    for name in sorted(wanted):
        problems = survey(name, work).problems
        if problems and arguments.download:
            settings = Settings(connections=arguments.connections)
            if not download_dataset(name, work, arguments.mirror, settings)["complete"]:
                raise ValueError(f"{BENCHMARKS[name].TITLE} is not complete (see above)")
        elif problems:
            command = f"jseg download {name.replace('_', '-')} --root {root}"
            there = BENCHMARKS[name].find_home(root).is_dir()
            lack = f"is not complete in {root} ({problems[0]})" if there else f"is not in {root}"
            raise ValueError(f"{BENCHMARKS[name].TITLE} {lack}; run `{command}`, or add --download")


def require_weights(steps: Sequence[Step], arguments: argparse.Namespace) -> None:
    """Checks the CLIP weights of all steps, and downloads missing ones with --download.

    Raises:
        FileNotFoundError: if they are missing.
    """
    for clip in dict.fromkeys(str(step.load().model["clip"]) for step in steps):
        try:
            find_file(clip)
        except FileNotFoundError as error:
            name = Path(clip).stem
            if name not in CLIP_NAMES:
                raise
            if not arguments.download:
                raise FileNotFoundError(
                    f"{error}, run `jseg download clip {name} --root {Path(clip).parent}`, or add --download"
                ) from None
            settings = Settings(connections=arguments.connections)
            download_clip(name, Path(clip).parent, arguments.mirror, settings)


def departures(steps: Sequence[Step], arguments: argparse.Namespace) -> list[str]:
    """Returns the differences between the runs and the recipe of the row, as recorded in their files."""
    found = ["the datasets may be incomplete (--any-count)"] if arguments.any_count else []
    for step in steps:
        if step.task == "val":
            found += deviations(dict(step.load()), step.config)
            continue
        if step.enough is None:  # otherwise compared below, as the start of the next step
            found += _of_checkpoint(step.final_checkpoint(), step.config)
        start = step.load().init_from
        if start and origin(step.config, start).is_file():
            found += _of_checkpoint(Path(start), origin(step.config, start))
        elif start:
            found.append(f"{step.config.name} started from {start}")
    return list(dict.fromkeys(found))


def _of_checkpoint(path: Path, config: Path) -> list[str]:
    """Like `deviations`, for the config stored in a checkpoint."""
    return deviations(saved_config(read_tensors(path).metadata), config)


def agreed(make: Callable[[], Value], arguments: argparse.Namespace) -> Value:
    """Returns the result of `make`, under mpirun that of the main process, whose disk holds the runs."""
    if _RANK is None:
        return make()
    select_device(arguments.device, arguments.precision)
    from jseg.distributed import broadcast_object, is_main

    try:
        value = make() if is_main() else None
    except (ValueError, OSError) as error:  # the other processes wait for the main process
        raise SystemExit(run_net.end_run(f"error: {error}", USER_ERROR)) from None
    return broadcast_object(value, what="the plan of the runs")


def reproduce(row: Row, arguments: argparse.Namespace, record: Record) -> int:
    """Runs the incomplete steps, prints the comparison, and returns the exit status."""
    overrides = list(arguments.overrides)
    if arguments.root is not None:
        overrides.append(f"data_root={arguments.root}")

    def prepared() -> list[list[Step]]:
        """Returns the steps of each seed, after checking checkpoint, data and weights."""
        if arguments.checkpoint is not None and not arguments.checkpoint.is_file():
            raise FileNotFoundError(f"--checkpoint {arguments.checkpoint}: there is no such file")
        plans = [plan(row, seed, overrides, arguments.checkpoint) for seed in arguments.seeds or (None,)]
        steps = [step for steps in plans for step in steps]
        require_data(steps, arguments)
        require_weights(steps, arguments)
        return plans

    plans = agreed(prepared, arguments)
    options = [
        text
        for option in ("device", "precision")
        if (value := getattr(arguments, option)) is not None
        for text in (f"--{option}", value)
    ]
    for step in (step for steps in plans for step in steps):
        if agreed(step.is_complete, arguments):
            _tell(f"{step.work_dir}: complete")
            continue
        _tell(f"{step.work_dir}: {step.task}, {step.config.name}; {_duration(step)}")
        status = run_net.main([*step.arguments(), *options], step.task)
        if status:
            return status
    if _RANK in (None, "0"):
        results = [
            Result(_label(steps[-1], arguments), steps[-1].scores() or {}, _hours(steps)) for steps in plans
        ]
        steps = [step for steps in plans for step in steps]
        print(f"\n{row.table}, {row.name} ({row.config.stem})")
        departed = departures(steps, arguments)
        print(compare(row, results, departed, arguments.tolerance))
        record(
            {
                "table": row.table,
                "row": row.name,
                "paper": row.paper,
                "results": [result._asdict() for result in results],
                "departures": departed,
            }
        )
    return 0


def _label(step: Step, arguments: argparse.Namespace) -> str:
    return f"jseg, seed {step.seed}" if arguments.checkpoint is None else f"jseg, {arguments.checkpoint.name}"


def _hours(steps: Sequence[Step]) -> float | None:
    found = [hours for step in steps if step.task == "train" and (hours := step.hours()) is not None]
    return sum(found) if found else None


def _duration(step: Step) -> str:
    if step.task == "val":
        return "evaluation only"
    done = step.hours()
    length = f"{step.load().max_iters:,} iterations"
    if done is None:
        return f"{length}; hours on this machine are unknown; the log shows the remaining time"
    return f"{length}; {done:.2f} h measured so far"


def _tell(text: str) -> None:
    if _RANK in (None, "0"):
        say(text)


def main(argv: list[str] | None = None) -> int:
    """Returns 0 after a comparison, 2 after a user error, else the status of the run that ended early."""
    arguments = parse_arguments(argv)
    if arguments.table is None or arguments.row is None:
        tables = TABLES if arguments.table is None else [arguments.table]
        found = [row for table in tables for row in rows(table)]
        return command_status(arguments, lambda record: show_rows(found, record))
    return command_status(
        arguments, lambda record: reproduce(find_row(arguments.table, arguments.row), arguments, record)
    )
