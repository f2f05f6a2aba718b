"""Segment images with your own words.

    jseg segment photo.jpg --classes "cat, dog, grass" --checkpoint RUN/checkpoints/latest
    jseg segment photos/ --classes-file words.txt --checkpoint released.pth --config CONFIG --clip CLIP
    jseg segment photo.jpg --classes "cat, dog" --clip ViT-B-16.pt  # training-free, with CLIP alone
    jseg segment --sample                                           # sample drawings, with the model that
    comes with jseg

Writes NAME.png (a palette image whose pixels are word indices from 0, or 255 where no word fits),
NAME.overlay.png and NAME.json for each image, and prints the share of the image that each word covers. In
--classes, commas separate words and | separates synonyms: "cat, dog|puppy". A file contains one word per
line.

For masks to be corrected by hand, `--save labelme` writes labelme/NAME.json and `--save coco` one coco.json
for all images. `--class-list voc2012 --published-values` writes masks with the label numbers of a data set.
"""

import argparse
import contextlib
import math
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jseg.cli import shipped
from jseg.cli.output import Record, add_output_options, command_status
from jseg.files import find_file, shipped_folder
from jseg.progress import progress
from jseg.runtime.command import USER_ERROR, prove_writable, refuse
from jseg.runtime.device import add_device_options
from jseg.runtime.memory import ONE_INPUT, memory_advice
from jseg.runtime.selection import name_device, select_device

if TYPE_CHECKING:
    from jseg.datasets.outlines import CocoFile
    from jseg.inference.result import Result
    from jseg.inference.segmenter import Segmenter

SAMPLE_CHECKPOINT = "weights/zeroshapes_clip_rc.safetensors"
SAMPLES = "samples"
SAMPLE_THRESHOLD = 0.3  # the background of the drawings scores 0.02, objects 0.3 to 0.8
DEFAULT_OUTPUT = "segmented"
SAVED = ("mask", "overlay", "json", "labelme", "coco")
COCO_FILE = "coco.json"


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    from jseg.datasets.classes import available_class_lists

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("images", nargs="*", metavar="IMAGE", help="images, folders, or patterns in quotes")
    words = parser.add_mutually_exclusive_group()
    words.add_argument("--classes", metavar="WORDS", help='e.g. "cat, dog|puppy, grass"')
    words.add_argument("--classes-file", metavar="FILE", help="text file with one word per line")
    words.add_argument("--class-list", choices=available_class_lists(), help="the classes of a data set")
    model = parser.add_argument_group("model")
    model.add_argument(
        "--checkpoint",
        metavar="FILE",
        help=f"checkpoint of a run, or a released one (default: {SAMPLE_CHECKPOINT})",
    )
    model.add_argument(
        "--clip",
        metavar="FILE",
        help="CLIP weights of the checkpoint, or without a checkpoint, for training-free segmentation",
    )
    model.add_argument("--config", metavar="FILE", help="config of a released checkpoint")
    model.add_argument("--num-regions", type=int, metavar="M", help="region tokens, a square number")
    model.add_argument(
        "--seen-bias", type=float, metavar="B", help="subtracted from the scores of trained words"
    )
    model.add_argument("--background", metavar="WORDS", help='words for "nothing", separated by commas')
    model.add_argument(
        "--threshold", type=float, metavar="T", help="pixels below this score (0 to 1) are nothing"
    )
    output = parser.add_argument_group("output")
    output.add_argument("--output", metavar="DIR", default=DEFAULT_OUTPUT, help="(default: %(default)s)")
    output.add_argument(
        "--save",
        nargs="*",
        choices=SAVED,
        default=["mask", "overlay", "json"],
        help="files to write (default: mask overlay json; without a value, none)",
    )
    output.add_argument(
        "--published-values",
        action="store_true",
        help="with --class-list: masks hold the label numbers of the data set (VOC: 1 to 20, 0 for "
        "nothing; COCO-Stuff: its ids)",
    )
    output.add_argument("--force", action="store_true", help="overwrite files of an earlier call")
    add_output_options(parser, "one object for each image")
    parser.add_argument(
        "--sample", action="store_true", help="use the sample images, their words and their model"
    )
    add_device_options(parser)
    return parser


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = make_parser()
    args = parser.parse_args(argv)
    if not args.images and not args.sample:
        parser.error("name an image or a folder, or try --sample")
    if args.images and args.sample:
        parser.error("--sample has its own images; leave IMAGE out")
    if args.config and not args.checkpoint:
        parser.error("--config requires --checkpoint")
    if not (args.classes or args.classes_file or args.class_list or args.sample):
        parser.error('give the words: --classes "cat, dog, grass"')
    if args.threshold is not None and not 0 <= args.threshold <= 1:
        parser.error(f"--threshold {args.threshold}: must be between 0 and 1")
    if args.num_regions is not None and (
        args.num_regions < 1 or math.isqrt(args.num_regions) ** 2 != args.num_regions
    ):
        parser.error(f"--num-regions {args.num_regions}: must be a square number such as 1, 4, 16 or 64")
    if args.seen_bias is not None and not math.isfinite(args.seen_bias):
        parser.error(f"--seen-bias {args.seen_bias}: must be a number")
    if args.published_values and not args.class_list:
        parser.error("--published-values requires --class-list")
    return args


def main(argv: list[str] | None = None) -> int:
    """Returns 0 on success, 1 if an image could not be segmented, 2 after a user error, 130 after Ctrl-C."""
    args = parse_args(argv)
    return command_status(args, lambda record: run(args, record))


def run(args: argparse.Namespace, record: Record) -> int:
    """Segments every image, and returns the exit status.

    Raises:
        ValueError, OSError: if the words, the model or the output cannot be used.
    """
    from jseg.datasets.outlines import CocoFile, require_outlines
    from jseg.inference.stored_masks import values_in_masks
    from jseg.inference.words import Words

    words = read_words(args)
    names = Words.parse(words).names  # checked before a model is loaded
    values = values_in_masks(args.class_list).tolist() if args.published_values else None
    if not {"labelme", "coco"}.isdisjoint(args.save):
        require_outlines()
    images = list(find_images(args))
    stems, image_names = name_outputs(images), names_below(images)
    if args.save:
        prove_writable(Path(args.output) / ".jseg")
        if not args.force:
            refuse_overwriting(args.output, stems, args.save)
    coco = CocoFile(names, values) if "coco" in args.save else None
    select_device(args.device, args.precision)
    segmenter = load(args)
    name_device()
    failed = 0
    with written_at_the_end(coco, Path(args.output) / COCO_FILE):
        for number, (image, stem) in enumerate(shown(list(zip(images, stems)))):
            try:
                with memory_advice(ONE_INPUT):
                    result = segment(segmenter, image, words, args)
                    files = save(result, stem, values, args)
            except ValueError as error:
                failed += 1
                refuse(str(error) if str(image) in str(error) else f"{image}: {error}")
                continue
            if coco is not None:
                coco.add(number, image_names[number], result.size, result.outlines())
            report(result)
            record({**result.to_dict(), "files": files})
    if failed:
        print(f"{failed} of {len(images)} images were not segmented", file=sys.stderr)
    return (USER_ERROR if failed == len(images) else 1) if failed else 0


def read_words(args: argparse.Namespace) -> str | list[str]:
    """Returns the words of the command line or of the file, or those of ZeroShapes for the sample."""
    if args.classes_file:
        from jseg.datasets.words import read_words as words_of_file

        return list(words_of_file(args.classes_file))
    if args.classes:
        return str(args.classes)
    from jseg.datasets.classes import load_class_list

    return list(load_class_list(args.class_list or "zeroshapes").names)


def find_images(args: argparse.Namespace) -> Iterator[Path]:
    """Yields the image files, in order.

    Raises:
        FileNotFoundError, ValueError: if an argument matches no image. The message names it.
    """
    from jseg.inference.images import expand

    names = [str(shipped_folder(SAMPLES))] if args.sample else args.images
    for name in names:
        yield from (Path(str(item)) for item in expand(name))


def name_outputs(images: Sequence[Path]) -> list[str]:
    """Returns a file stem for each image. Images of equal names are prefixed with their folders.

    Raises:
        ValueError: if two images would have the same stem.
    """
    stems = [image.stem for image in images]
    for depth in (0, 1, 2):
        if len(set(stems)) == len(stems):
            return stems
        stems = [
            "_".join([*image.absolute().parts[-2 - depth : -1], image.stem])
            if [other.stem for other in images].count(image.stem) > 1
            else image.stem
            for image in images
        ]
    if len(set(stems)) < len(stems):
        twice = next(image for image, stem in zip(images, stems) if stems.count(stem) > 1)
        raise ValueError(
            f"{twice}: two images would be written to the same file names; segment them separately"
        )
    return stems


def refuse_overwriting(folder: str, stems: Sequence[str], forms: Sequence[str]) -> None:
    """Raises `FileExistsError` before anything is computed if an output file exists."""
    from jseg.inference.result import output_files, refuse_existing

    own = [form for form in forms if form != "coco"]
    for stem in stems:
        refuse_existing(output_files(folder, stem, own))
    if "coco" in forms:
        refuse_existing([Path(folder) / COCO_FILE])


def names_below(images: Sequence[Path]) -> list[str]:
    """Each image relative to the folder that holds them all: its name, where they lie in one folder."""
    top = os.path.commonpath([image.absolute().parent for image in images])
    return [image.absolute().relative_to(top).as_posix() for image in images]


@contextlib.contextmanager
def written_at_the_end(coco: "CocoFile | None", path: Path) -> Iterator[None]:
    """Writes the file of all images when the block ends, also by Ctrl-C or an error."""
    try:
        yield
    finally:
        if coco is not None and coco.entries():
            coco.save(path)


def save(result: "Result", stem: str, values: Sequence[int] | None, args: argparse.Namespace) -> list[Path]:
    """Writes the files of one image."""
    forms = [form for form in args.save if form != "coco"]
    return result.save(args.output, stem, forms, args.force, values) if forms else []


def load(args: argparse.Namespace) -> "Segmenter":
    """Loads the model chosen by the options."""
    from jseg.inference.segmenter import Segmenter

    if args.clip and not args.checkpoint:
        return Segmenter.from_clip(shipped(args.clip))
    checkpoint = shipped(args.checkpoint) if args.checkpoint else find_file(SAMPLE_CHECKPOINT)
    return Segmenter.from_checkpoint(
        checkpoint, args.clip and shipped(args.clip), args.config and shipped(args.config)
    )


def segment(
    segmenter: "Segmenter", image: Path, words: str | list[str], args: argparse.Namespace
) -> "Result":
    """Segments one image with the options of the command line."""
    background = [word.strip() for word in args.background.split(",")] if args.background else None
    view = segmenter.encode(image, args.num_regions)
    threshold = SAMPLE_THRESHOLD if args.sample and args.threshold is None else args.threshold
    return view.segment(words, background, threshold, args.seen_bias)


def shown(pairs: list[tuple[Path, str]]) -> Iterator[tuple[Path, str]]:
    """Yields the pairs, with a progress bar if there are several."""
    if len(pairs) < 2:
        yield from pairs
        return
    with contextlib.closing(progress(pairs, unit="image")) as bar:
        yield from bar


def report(result: "Result") -> None:
    """Prints the areas found in an image."""
    content = result.to_dict()
    rows = sorted((row for row in content["classes"] if row["pixels"]), key=lambda row: -row["pixels"])
    found = [f"{row['name']} {100 * row['share']:.1f} %" for row in rows]
    if content["nothing"]["pixels"]:
        found.append(f"nothing {100 * content['nothing']['share']:.1f} %")
    print(f"{result.path}: {', '.join(found)}", flush=True)
