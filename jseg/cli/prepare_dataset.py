"""Prepare a benchmark from its official archives, or check one.

    jseg prepare voc2012 --data-root data

Put the archives or their contents into the data root (docs/datasets.md lists them). Existing files are kept,
so an interrupted run continues when it is started again. --check reads every file and lists the bad ones.
"""

import argparse
import os
import sys
from pathlib import Path

from jseg.cli.output import Record, add_output_options, command_status
from jseg.datasets import configured_root
from jseg.datasets.prepare import BENCHMARKS, Problems, Report, Work, check, prepare
from jseg.files import expanded

SHOWN = 50  # problems printed after preparing; --check prints all


def make_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    # `jseg download` writes coco-stuff.
    parser.add_argument("dataset", choices=sorted(BENCHMARKS), type=lambda name: str(name).replace("-", "_"))
    parser.add_argument(
        "--data-root",
        metavar="FOLDER",
        help="folder of all datasets or of this one; everything is "
        "written inside it (default: the environment variable JSEG_DATA_ROOT, else data)",
    )
    parser.add_argument(
        "--archives",
        type=expanded,
        metavar="FOLDER",
        help="another folder of archives or their contents; "
        "nothing is written there (default: the data root)",
    )
    parser.add_argument(
        "--check", action="store_true", help="change nothing; read all files and list the bad ones"
    )
    parser.add_argument("--any-count", action="store_true", help="accept an incomplete dataset")
    parser.add_argument(
        "--jobs",
        type=int,
        default=len(os.sched_getaffinity(0)),
        metavar="N",
        help="number of processes (default: %(default)s, the number of CPUs)",
    )
    add_output_options(parser, "the folder, what it holds, notes and problems")
    return parser


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = make_parser()
    arguments = parser.parse_args(argv)
    if arguments.jobs < 1:
        parser.error("--jobs must be at least 1")
    return arguments


def run(arguments: argparse.Namespace, record: Record) -> int:
    """Prepares or checks the dataset, and returns the exit status."""
    root = Path(configured_root(arguments.data_root))
    archives = arguments.archives or root
    if not archives.is_dir():
        raise FileNotFoundError(
            f"{archives}: this folder does not exist; name the folder that holds the archives with "
            "--data-root or --archives"
        )
    work = Work(root, archives, arguments.jobs, arguments.any_count)
    try:
        report = (check if arguments.check else prepare)(arguments.dataset, work)
    except Problems as error:
        print_problems(list(error.problems), SHOWN)
        record({"complete": False, "problems": list(error.problems)})
        return 1
    show(report, None if arguments.check else SHOWN)
    record(describe(report))
    return 1 if report.problems else 0


def describe(report: Report) -> dict[str, object]:
    """Returns a report for `--json`."""
    return {
        "home": report.home,
        "complete": not report.problems,
        "counts": report.counts,
        "notes": report.notes,
        "problems": report.problems,
    }


def show(report: Report, limit: int | None) -> None:
    """Prints at most `limit` problems to stderr, and the contents to stdout."""
    print_problems(report.problems, limit)
    for note in report.notes:
        print(f"note: {note}")
    title = "wrong" if report.problems else "complete"
    print(f"{report.home}: {title}; " + ", ".join(f"{count} {name}" for name, count in report.counts.items()))


def print_problems(problems: list[str], limit: int | None) -> None:
    for problem in problems[:limit]:
        print(f"error: {problem}", file=sys.stderr)
    if limit is not None and len(problems) > limit:
        print(
            f"error: and {len(problems) - limit} more of this kind; fix these and run this again",
            file=sys.stderr,
        )


def main(argv: list[str] | None = None) -> int:
    """Returns 0 if the dataset is complete, 1 if it is not, 2 after another error, 130 after Ctrl-C."""
    arguments = parse_arguments(argv)
    return command_status(
        arguments,
        lambda record: run(arguments, record),
        "interrupted; finished work is kept, and the same command continues from here",
    )
