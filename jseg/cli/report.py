"""Write a report on finished runs: one HTML file that opens offline and can be sent or printed.

    jseg report work_dirs/zeroshapes_demo                       # -> work_dirs/zeroshapes_demo/report.html
    jseg report work_dirs/seed0 work_dirs/seed1 work_dirs/baseline -o comparison.html

With several folders, runs that differ only in the seed are joined, and the others are compared with the
first.
Needs Jinja2 and matplotlib (`pip install 'jseg[report]'`).
"""

import argparse
from pathlib import Path

from jseg.cli.output import Record, add_output_options, command_status
from jseg.files import expanded, replacing
from jseg.runtime.command import say


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=expanded, metavar="FOLDER", help="work folder of a run")
    parser.add_argument(
        "-o",
        "--output",
        type=expanded,
        metavar="FILE",
        help="default: report.html in the work folder, or in the current folder for several",
    )
    parser.add_argument("--title", default="", help="heading (default: the names of the folders)")
    add_output_options(parser, "the file, and the scores of each run")
    return parser


def run(folders: list[Path], output: Path | None, title: str, record: Record) -> None:
    """Writes the report.

    Raises:
        ValueError, OSError: if a folder is not a work folder, or the file cannot be written.
    """
    from jseg.report import read_run, report_page, require_packages

    require_packages()
    runs = [read_run(folder) for folder in dict.fromkeys(folder.resolve() for folder in folders)]
    if output is None:
        output = (runs[0].folder if len(runs) == 1 else Path()) / "report.html"
    if output.is_dir():
        raise ValueError(f"{output} is a folder; give the name of an HTML file")
    page = report_page(runs, title)
    with replacing(output, durable=False) as temporary:
        temporary.write_text(page, encoding="utf-8")
    say(f"wrote {output}")
    record({"report": output, "runs": [{"folder": run.folder, "scores": run.scores} for run in runs]})


def main(argv: list[str] | None = None) -> int:
    """Returns 0 on success, 2 after an error of the user."""
    args = make_parser().parse_args(argv)
    return command_status(args, lambda record: run(args.folders, args.output, args.title, record))
