"""Draw the ZeroShapes benchmark.

    jseg zeroshapes --out data/zeroshapes

Writes images, masks and split files in the PASCAL VOC folder layout. The same seed gives the same files.
"""

import argparse
import shutil
from pathlib import Path

from jseg.cli.output import Record, add_output_options, command_status
from jseg.files import expanded
from jseg.progress import progress
from jseg.zeroshapes import holds_zeroshapes, write_zeroshapes


def make_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=expanded, default=Path("data/zeroshapes"), help="folder to write (default: %(default)s)"
    )
    parser.add_argument("--train", type=int, default=3000, help="training images (default: %(default)s)")
    parser.add_argument("--val", type=int, default=300, help="validation images (default: %(default)s)")
    parser.add_argument("--test", type=int, default=100, help="test images (default: %(default)s)")
    parser.add_argument(
        "--size", type=int, default=64, help="side length of the images in pixels (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    parser.add_argument(
        "--force", action="store_true", help="replace the folder if it was written with other settings"
    )
    add_output_options(parser, "the folder, its settings, and whether it was drawn or existed")
    return parser


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = make_parser()
    arguments = parser.parse_args(argv)
    if min(arguments.train, arguments.val, arguments.test) < 1 or arguments.size < 48:
        parser.error("--train, --val and --test must be at least 1, --size at least 48")
    return arguments


def run(arguments: argparse.Namespace, record: Record) -> None:
    """Draws the dataset unless it already exists.

    Raises:
        ValueError: if the folder has other contents. OSError: if the folder cannot be written.
    """
    counts = {split: getattr(arguments, split) for split in ("train", "val", "test")}
    settings = dict(counts=counts, seed=arguments.seed, size=arguments.size)
    if holds_zeroshapes(arguments.out, **settings):
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
        with progress(total=sum(counts.values()), unit="image", label="ZeroShapes") as bar:
            write_zeroshapes(arguments.out, progress=bar.update, **settings)
    except OSError as error:
        raise OSError(f"cannot write {arguments.out}: {error}") from error
    print(f"wrote {arguments.out}: " + ", ".join(f"{count} {split}" for split, count in counts.items()))
    record({"out": arguments.out, "drawn": True, **settings})


def main(argv: list[str] | None = None) -> int:
    """Returns 0 on success, 2 after a user error."""
    arguments = parse_arguments(argv)
    return command_status(arguments, lambda record: run(arguments, record))
