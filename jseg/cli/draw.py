"""Draw the benchmark {title}.

    jseg {name} --out data/{name}

Writes images, masks and split files in the PASCAL VOC folder layout. The same seed gives the same files.
"""

import argparse
import shutil
from pathlib import Path

from tqdm import tqdm

from jseg.drawn import DRAWN, holds_dataset, write_dataset
from jseg.files import expanded
from jseg.runtime.command import exit_status


def make_parser(name: str = "zeroshapes") -> argparse.ArgumentParser:
    """The options of the command that draws the dataset `name`."""
    dataset = DRAWN[name]
    parser = argparse.ArgumentParser(
        description=__doc__.format(name=name, title=dataset.title),
        formatter_class=argparse.RawDescriptionHelpFormatter,
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
    return parser


def parse_arguments(argv: list[str] | None = None, name: str = "zeroshapes") -> argparse.Namespace:
    """The command line."""
    parser, smallest = make_parser(name), DRAWN[name].smallest
    arguments = parser.parse_args(argv)
    if min(arguments.train, arguments.val, arguments.test) < 1 or arguments.size < smallest:
        parser.error(f"--train, --val and --test must be at least 1, --size at least {smallest}")
    return arguments


def run(arguments: argparse.Namespace, name: str) -> None:
    """Draws the dataset unless it already exists.

    Raises:
        ValueError: if the folder has other contents. OSError: if the folder cannot be written.
    """
    counts = {split: getattr(arguments, split) for split in ("train", "val", "test")}
    settings = dict(counts=counts, seed=arguments.seed, size=arguments.size)
    if holds_dataset(name, arguments.out, **settings):
        print(f"{arguments.out} already contains this dataset")
        return
    if arguments.out.exists() and not arguments.force:
        raise ValueError(
            f"{arguments.out} exists with other settings or contents; pass --force to replace it, or "
            "choose another --out"
        )
    try:
        if arguments.out.exists():
            shutil.rmtree(arguments.out)
        with tqdm(total=sum(counts.values()), unit="image", desc=DRAWN[name].title, disable=None) as bar:
            write_dataset(name, arguments.out, progress=bar.update, **settings)
    except OSError as error:
        raise OSError(f"cannot write {arguments.out}: {error}") from error
    print(f"wrote {arguments.out}: " + ", ".join(f"{count} {split}" for split, count in counts.items()))


def main(argv: list[str] | None = None, name: str = "zeroshapes") -> int:
    """Returns 0 on success, 2 after a user error."""
    arguments = parse_arguments(argv, name)
    return exit_status(lambda: run(arguments, name))
