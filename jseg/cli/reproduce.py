"""Train and evaluate a row of the paper's tables, and compare with the paper.

    jseg reproduce                               # the tables and their rows
    jseg reproduce table1 --row voc2012
    jseg reproduce table2 --row voc2012 --seeds 0 1 2
    jseg reproduce table1 --row coco-stuff --checkpoint RELEASED.pth

Data and weights are looked for first; what is missing is named, and downloaded with --download. A
transductive row needs the inductive run at half its length, Table 4 the inductive run on COCO-Stuff: these
are trained first. Stopped at any point, the same command resumes. With several processes: `mpirun -n 8 jseg
reproduce ...`.
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
from jseg.datasets import configured_root
from jseg.datasets.prepare import BENCHMARKS, Work, survey
from jseg.download import CLIP_NAMES, Settings
from jseg.files import expanded, find_file
from jseg.reproduce import TABLES, Result, Row, Step, compare, deviations, find_row, origin, plan, rows
from jseg.reproduce.comparison import TOLERANCE
from jseg.runtime.command import USER_ERROR, exit_status, say
from jseg.runtime.device import add_device_options
from jseg.runtime.selection import select_device

_BENCHMARK = {"VOCDataset": "voc2012", "PascalContextDataset": "context", "COCOStuffDataset": "coco_stuff"}
_RANK = os.environ.get("OMPI_COMM_WORLD_RANK")  # under mpirun

Value = TypeVar("Value")


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", nargs="?", choices=TABLES, help="without it, all rows are listed")
    parser.add_argument("--row", help="without it, the rows of the table are listed")
    parser.add_argument(
        "--from",
        dest="source",
        choices=("data", "checkpoint"),
        help="train, or evaluate a trained file (default: data, and checkpoint if --checkpoint is given)",
    )
    parser.add_argument("--checkpoint", type=expanded, metavar="FILE", help="a release, or one of jseg")
    parser.add_argument("--seeds", type=int, nargs="+", metavar="N", help="default: that of the config, 0")
    parser.add_argument("--root", metavar="DIR", help="of the data (default: $JSEG_DATA_ROOT, else data)")
    parser.add_argument("--any-count", action="store_true", help="accept a part of the data")
    parser.add_argument(
        "--download", action="store_true", help="download the data and weights that are missing"
    )
    add_download_options(parser)
    parser.add_argument(
        "--tolerance",
        type=float,
        default=TOLERANCE,
        metavar="POINTS",
        help="difference from the paper that may be chance (default: %(default)s)",
    )
    run_net.add_overrides(parser, "override config keys of every run; the result then is not comparable")
    add_device_options(parser)
    arguments = parser.parse_args(argv)
    if arguments.row is not None and arguments.table is None:
        parser.error("--row needs a table")
    if arguments.checkpoint is not None and arguments.source == "data":
        parser.error("--checkpoint is for --from checkpoint")
    if arguments.checkpoint is None and arguments.source == "checkpoint":
        parser.error("--from checkpoint needs --checkpoint FILE: a release of CLIP-RC, or a file of jseg")
    if arguments.checkpoint is not None and len(arguments.seeds or ()) > 1:
        parser.error("--seeds are for training; a checkpoint has its own")
    return arguments


def show_rows(found: Sequence[Row]) -> None:
    for row in found:
        numbers = ", ".join(f"{name} {value:.1f}" for name, value in row.paper.items()) or "out of memory"
        print(f"{row.table} --row {row.name:20}  {row.config.stem:36}  paper: {numbers}")


def require_data(steps: Sequence[Step], arguments: argparse.Namespace) -> None:
    """Looks for the data sets of all steps, and downloads what is missing if that was asked for.

    Raises:
        ValueError: data is missing; names the command that brings it.
    """
    configs = [step.load() for step in steps]
    wanted = {_BENCHMARK[part["type"]] for config in configs for part in config.dataset.values() if part}
    root = Path(configured_root(arguments.root if arguments.root is not None else configs[0].data_root))
    work = Work(root, root, len(os.sched_getaffinity(0)), arguments.any_count)
    for name in sorted(wanted):
        problems = survey(name, work).problems
        if problems and arguments.download:
            settings = Settings(connections=arguments.connections)
            if download_dataset(name, work, arguments.mirror, settings):
                raise ValueError(f"{BENCHMARKS[name].TITLE} is not complete, see above")
        elif problems:
            command = f"jseg download {name.replace('_', '-')} --root {root}"
            there = BENCHMARKS[name].find_home(root).is_dir()
            lack = f"is not complete in {root} ({problems[0]})" if there else f"is not in {root}"
            raise ValueError(
                f"{BENCHMARKS[name].TITLE} {lack}; `{command}` brings it, and so does --download"
            )


def require_weights(steps: Sequence[Step], arguments: argparse.Namespace) -> None:
    """Looks for the CLIP of all steps, and downloads it if that was asked for.

    Raises:
        FileNotFoundError: it is missing; names the command that brings it.
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
                    f"{error}; `jseg download clip {name} --root {Path(clip).parent}` brings it, and so does "
                    "--download"
                ) from None
            settings = Settings(connections=arguments.connections)
            download_clip(name, Path(clip).parent, arguments.mirror, settings)


def departures(row: Row, steps: Sequence[Step], arguments: argparse.Namespace) -> list[str]:
    """In what the runs differ from the recipe of the row, as far as their files tell."""
    found = ["a part of the data was used (--any-count)"] if arguments.any_count else []
    for step in steps:
        if step.task == "val":
            found += deviations(dict(step.load()), step.config)
            continue
        if step.enough is None:  # the checkpoint on the way is compared as the start of the step after it
            found += _of_checkpoint(step.final_checkpoint(), step.config)
        start = step.load().init_from
        if start and origin(step.config, start).is_file():
            found += _of_checkpoint(Path(start), origin(step.config, start))
        elif start:
            found.append(f"{step.config.name} started from {start}")
    return list(dict.fromkeys(found))


def _of_checkpoint(path: Path, config: Path) -> list[str]:
    """As `deviations`, for the config that a checkpoint carries."""
    return deviations(saved_config(read_tensors(path).metadata), config)


def agreed(make: Callable[[], Value], arguments: argparse.Namespace) -> Value:
    """What `make` gives; under mpirun, what it gives the main process, whose disk holds the runs."""
    if _RANK is None:
        return make()
    select_device(arguments.device, arguments.precision)
    from jseg.distributed import broadcast_object, is_main

    try:
        value = make() if is_main() else None
    except (ValueError, OSError) as error:  # the others wait for the main process
        raise SystemExit(run_net.end_run(f"error: {error}", USER_ERROR)) from None
    return broadcast_object(value, what="the plan of the runs")


def reproduce(row: Row, arguments: argparse.Namespace) -> int:
    """Runs what is missing, and prints the comparison; the exit status."""
    overrides = list(arguments.overrides)
    if arguments.root is not None:
        overrides.append(f"data_root={arguments.root}")

    def prepared() -> list[list[Step]]:
        """The steps of each seed; data and weights are there."""
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
        print(compare(row, results, departures(row, steps, arguments), arguments.tolerance))
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
        return f"{length}; hours on this machine: not known, the log says what is left"
    return f"{length}; {done:.2f} h measured so far"


def _tell(text: str) -> None:
    if _RANK in (None, "0"):
        say(text)


def main(argv: list[str] | None = None) -> int:
    """0 with a comparison, 2 after an error of the user, else that of the run that ended early."""
    arguments = parse_arguments(argv)
    if arguments.table is None or arguments.row is None:
        tables = TABLES if arguments.table is None else [arguments.table]
        return exit_status(lambda: show_rows([row for table in tables for row in rows(table)]))
    return exit_status(lambda: reproduce(find_row(arguments.table, arguments.row), arguments))
