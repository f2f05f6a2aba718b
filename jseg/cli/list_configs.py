"""Print a table of the experiments, read from the configs.

    jseg configs                # all
    jseg configs table6 coco    # those whose path contains one of the words

Data, setting and length come from the resolved config. The lines `Reproduces:`, `Paper:` and `Measured:` of
its header give the experiment of the paper, the paper's numbers, and the numbers measured with jseg.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jseg.cli.output import Record, add_output_options, command_status
from jseg.config import Config
from jseg.config.headers import FIELDS, base_config, header_fields
from jseg.files import shipped_folder
from jseg.names import natural

_NAMES = {
    "VOCDataset": "VOC",
    "PascalContextDataset": "Context",
    "COCOStuffDataset": "COCO-Stuff",
    "COCOObjectDataset": "COCO objects",
    "FolderDataset": "own data",
}


class Experiment(NamedTuple):
    """A config and the fields of its header; '' for missing ones."""

    path: str
    data: str
    setting: str
    iterations: str
    reproduces: str
    paper: str
    measured: str


def dataset_name(part: dict[str, object]) -> str:
    """A short name of a dataset's config."""
    named = {"zeroshapes": "ZeroShapes", "zerowords": "ZeroWords", "voc21": "VOC-21"}
    if part.get("classes") in named:
        return named[str(part["classes"])]
    if part["type"] == "PascalContextDataset":
        return "Context-60" if part.get("background", True) else "Context-59"
    return _NAMES.get(str(part["type"]), str(part["type"]))


def experiment(path: Path) -> Experiment:
    """Returns a config's row of the table.

    Raises:
        ValueError, OSError: if the config cannot be read.
    """
    cfg, fields = Config.load(str(path)), header_fields(path)
    data = dataset_name(cfg.dataset["val"])
    trained = "train" in cfg.dataset and cfg.model["type"] != "DenseCLIP"
    base = None if trained else base_config(path)
    if base:
        data = f"{dataset_name(Config.load(base).dataset['train'])} -> {data}"
    return Experiment(
        path.relative_to(shipped_folder("configs").parent).as_posix(),
        data,
        str(cfg.model.get("setting", "inductive")) if trained or base else "without training",
        str(cfg.max_iters) if trained else "",
        *(fields.get(field, "") for field in FIELDS),
    )


def find(names: Sequence[str]) -> list[Path]:
    """Returns the configs in configs/, without `_base_`, whose paths contain one of `names` (all if it is
    empty).

    Raises:
        ValueError: if there is no such config. FileNotFoundError: if there is no configs/, as for a wheel.
    """
    folder = shipped_folder("configs")
    found = (path for path in folder.rglob("*.py") if "_base_" not in path.parts)
    paths = sorted(found, key=lambda path: natural(path.as_posix()))
    if not paths:
        raise FileNotFoundError(f"{folder}: no configs found; use the jseg of a clone of the repository")
    chosen = [path for path in paths if not names or any(name in path.as_posix() for name in names)]
    if not chosen:
        raise ValueError(
            f"no config has {' or '.join(names)} in its path; leave it out to list all {len(paths)}"
        )
    return chosen


def table(experiments: Sequence[Experiment]) -> str:
    """Formats the experiments as a Markdown table."""
    heads = ("config", "data", "setting", "iterations", "reproduces", "the paper's numbers", "measured here")
    rows = [heads, ["---"] * len(heads), *([cell or "–" for cell in row] for row in experiments)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(heads))]
    return "\n".join(
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in rows
    )


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "names", nargs="*", help="only configs whose path contains one of these, e.g. table6 coco"
    )
    add_output_options(parser, "one object for each config", quiet=False)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Returns 0 on success, 2 after a user error."""
    args = make_parser().parse_args(argv)

    def run(record: Record) -> None:
        found = [experiment(path) for path in find(args.names)]
        print(table(found))
        for row in found:
            record(row._asdict())

    return command_status(args, run)
