"""Score predicted masks that were saved to files.

    jseg evaluate-masks PRED GT --dataset voc2012
    jseg evaluate-masks PRED GT --classes classes.txt --unseen unseen.txt    # your own dataset

PRED is a folder of palette or greyscale PNG masks whose pixels are class indices from 0, as written by
`jseg val --save-predictions`. GT is the folder of the published masks of the dataset (for
COCO-Stuff, those named _labelTrainIds). Prints the same table and values as the run.
"""

import argparse
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jseg.cli.output import Record, add_output_options, command_status
from jseg.datasets import load_class_list
from jseg.datasets.classes import resolve_unseen
from jseg.datasets.files import read_ids
from jseg.datasets.words import read_words
from jseg.evaluation import format_table, json_ready, summarise
from jseg.evaluation.per_image import image_record, write_records
from jseg.files import expanded
from jseg.inference.stored_masks import MASK_FORMS, MaskForm, Pair, find_pairs, image_confusion
from jseg.progress import progress
from jseg.runtime.command import prove_writable


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("predictions", metavar="PRED", help="folder of predicted masks")
    parser.add_argument("truth", metavar="GT", help="folder of ground-truth masks")
    parser.add_argument(
        "--dataset", choices=sorted(MASK_FORMS), help="class list and format of the ground-truth masks"
    )
    parser.add_argument(
        "--classes",
        type=expanded,
        metavar="FILE",
        help="instead of --dataset: text file with one class word per line",
    )
    parser.add_argument(
        "--unseen",
        type=expanded,
        metavar="FILE",
        help="with --classes: text file with one unseen class per line",
    )
    parser.add_argument(
        "--reduce-zero-label",
        action="store_true",
        help="with --classes: in ground-truth masks, 0 is ignored and k is class k-1",
    )
    parser.add_argument(
        "--mask-ending",
        metavar="TEXT",
        default="",
        help="with --classes: suffix of ground-truth mask names after the id, before .png",
    )
    parser.add_argument(
        "--all-seen",
        action="store_true",
        help="with --dataset: no class is unseen, e.g. for a model trained on other data",
    )
    parser.add_argument(
        "--split",
        type=expanded,
        metavar="FILE",
        help="text file of the ids to score, all of which must exist",
    )
    parser.add_argument("--out", type=expanded, metavar="FILE", help="write the metrics as JSON")
    parser.add_argument(
        "--per-image", type=expanded, metavar="FILE", help="write the scores of every image as JSON lines"
    )
    add_output_options(parser, "the metrics, as --out writes them")
    return parser


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = make_parser()
    args = parser.parse_args(argv)
    if bool(args.dataset) == bool(args.classes):
        parser.error("give either --dataset or --classes")
    if args.dataset and (args.unseen or args.reduce_zero_label or args.mask_ending):
        parser.error("--unseen, --reduce-zero-label and --mask-ending require --classes; --dataset sets them")
    if args.out and args.per_image and os.path.realpath(args.out) == os.path.realpath(args.per_image):
        parser.error("--out and --per-image name the same file; choose two")
    if args.classes and args.all_seen:
        parser.error("--all-seen requires --dataset; with --classes, leave out --unseen")
    return args


def class_setup(args: argparse.Namespace) -> tuple[tuple[str, ...], tuple[int, ...], MaskForm]:
    """Returns class names, indices of the unseen classes, and the format of the ground-truth masks."""
    if args.dataset:
        class_list = load_class_list(args.dataset)
        return class_list.names, () if args.all_seen else class_list.unseen, MASK_FORMS[args.dataset]
    names = load_class_list(read_words(args.classes)).names
    unseen = resolve_unseen(read_words(args.unseen), names) if args.unseen else ()
    return names, unseen, MaskForm(args.reduce_zero_label, args.mask_ending)


def confusions(pairs: list[Pair], num_classes: int, form: MaskForm) -> Iterator[tuple[Pair, np.ndarray]]:
    """Yields the confusion matrix of every image, and shows the progress."""
    for pair in progress(pairs, unit="image"):
        yield pair, image_confusion(pair, num_classes, form.reduce_zero_label)


def run(args: argparse.Namespace, record: Record) -> None:
    """Scores, prints and writes; that the files can be written is tried before the masks are read."""
    names, unseen, form = class_setup(args)
    split = read_ids(args.split) if args.split else None
    pairs = find_pairs(args.predictions, args.truth, form.ending, split)
    for path in filter(None, (args.out, args.per_image)):
        prove_writable(path)
    total = np.zeros((len(names), len(names)), np.int64)
    records: list[Any] = []
    for pair, matrix in confusions(pairs, len(names), form):
        total += matrix
        if args.per_image:
            records.append(image_record(pair.name, matrix, names, unseen))
    summary = summarise(total, names, unseen)
    print(format_table(summary))
    print(f"\n{len(pairs)} images" + ("" if split else "; --split FILE checks that none is missing"))
    if args.per_image:
        write_records(args.per_image, records)
    result = {"images": len(pairs), **json_ready(summary)}
    if args.out:
        with Path(args.out).open("w", encoding="utf-8") as file:
            json.dump(result, file, indent=1)
            file.write("\n")
    record(result)


def main(argv: list[str] | None = None) -> int:
    """Returns 0 on success, 2 after a user error."""
    args = parse_args(argv)
    return command_status(args, lambda record: run(args, record))
