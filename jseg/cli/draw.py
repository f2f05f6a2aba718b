"""What the commands that draw a dataset have in common."""

import argparse
import shutil
from pathlib import Path

from jseg.cli.output import Record, add_output_options, command_status
from jseg.drawn import DRAWN, holds_dataset, write_dataset
from jseg.files import expanded
from jseg.progress import progress


def drawing_parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """The options of the command that draws the dataset `name`."""
    dataset = DRAWN[name]
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=expanded, default=Path("data", name), help="folder to write (default: %(default)s)"
    )
    for split, words in (("train", "training"), ("val", "validation"), ("test", "test")):
        parser.add_argument(
            f"--{split}",
            type=int,
            default=dataset.counts[split],
            help=f"{words} images (default: %(default)s)",
        )
    parser.add_argument(
        "--size",
        type=int,
        default=dataset.size,
        help="side length of the images in pixels (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    parser.add_argument(
        "--force", action="store_true", help="replace the folder if it was written with other settings"
    )
    add_output_options(parser, "the folder, its settings, and whether it was drawn or existed")
    return parser


def parse_arguments(parser: argparse.ArgumentParser, argv: list[str] | None, name: str) -> argparse.Namespace:
    """The command line."""
    arguments, smallest = parser.parse_args(argv), DRAWN[name].smallest
    if min(arguments.train, arguments.val, arguments.test) < 1 or arguments.size < smallest:
        parser.error(f"--train, --val and --test must be at least 1, --size at least {smallest}")
    return arguments


def run(arguments: argparse.Namespace, name: str, record: Record) -> None:
    """Draws the dataset unless it already exists.

    Raises:
        ValueError: if the folder has other contents. OSError: if the folder cannot be written.
    """
    counts = {split: getattr(arguments, split) for split in ("train", "val", "test")}
    settings = dict(counts=counts, seed=arguments.seed, size=arguments.size)
    if holds_dataset(name, arguments.out, **settings):
        print(f"{arguments.out} already contains this dataset")
        record({"out": arguments.out, "drawn": False, **settings})
        return
    if arguments.out.exists() and not arguments.force:
        raise ValueError(
            f"{arguments.out} exists with other settings or contents; pass --force to replace it, or "
            "choose another --out"
        )
    try:
        if arguments.out.exists():
            shutil.rmtree(arguments.out)
        with progress(total=sum(counts.values()), unit="image", label=DRAWN[name].title) as bar:
            write_dataset(name, arguments.out, progress=bar.update, **settings)
    except OSError as error:
        raise OSError(f"cannot write {arguments.out}: {error}") from error
    print(f"wrote {arguments.out}: " + ", ".join(f"{count} {split}" for split, count in counts.items()))
    record({"out": arguments.out, "drawn": True, **settings})


def draw(parser: argparse.ArgumentParser, argv: list[str] | None, name: str) -> int:
    """Runs the command. Returns 0 on success, 2 after a user error."""
    arguments = parse_arguments(parser, argv, name)
    return command_status(arguments, lambda record: run(arguments, name, record))
