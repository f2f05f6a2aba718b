"""Convert annotations to the folder that the `custom_*` configs read.

    jseg annotations labelme photos/ mydata

FORMAT is one of coco, labelme, cvat, voc, labelstudio, supervisely, yolo and mmseg. IN is the unpacked export
of the annotation tool, which is not changed. OUT is a new folder of images, masks and class words. The output
is a table of the classes, a list of everything that was left out, and OUT/contact_sheet.png with masks drawn
over their images. The exit status is 1 if something was left out. See docs/annotations.md.
"""

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from jseg.cli.check_dataset import Content, table
from jseg.cli.output import Record, add_output_options, command_status
from jseg.datasets import FolderDataset
from jseg.datasets.annotations.convert import LEFT_OUT, Conversion, Settings, convert
from jseg.datasets.annotations.core import Options
from jseg.datasets.annotations.drawing import OVERLAPS
from jseg.datasets.annotations.formats import FORMATS, read
from jseg.datasets.words import read_words
from jseg.files import expanded
from jseg.runtime.command import prove_writable
from jseg.visualization import draw_contact_sheet
from jseg.visualization.files import save_png

CONTACT_SHEET = "contact_sheet.png"
_ON_SHEET = 12  # images
_SHOWN = 20  # problems
_ONLY_FOR = {
    "image_ending": ("voc", "mmseg"),
    "mask_ending": ("voc", "mmseg"),
    "reduce_zero_label": ("mmseg",),
}


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("format", metavar="FORMAT", choices=list(FORMATS), help=", ".join(FORMATS))
    parser.add_argument("source", metavar="IN", type=expanded, help="folder or file of annotations")
    parser.add_argument("out", metavar="OUT", type=expanded, help="new folder")
    parser.add_argument(
        "--images",
        type=expanded,
        metavar="FOLDER",
        help="folder of the images (default: IN and its subfolders)",
    )
    parser.add_argument(
        "--classes",
        type=expanded,
        metavar="FILE",
        help="text file of class words, one per line, in the order of the new classes; others are ignored",
    )
    parser.add_argument(
        "--ignore", nargs="+", default=[], metavar="WORD", help="words whose pixels are ignored"
    )
    parser.add_argument(
        "--rest", metavar="WORD", help="a class for unlabelled pixels (default: they are ignored)"
    )
    parser.add_argument(
        "--overlap",
        choices=OVERLAPS,
        help="which region counts where two overlap (default: smaller for coco and yolo, else later)",
    )
    parser.add_argument("--link", action="store_true", help="symbolic links to the images instead of copies")
    parser.add_argument(
        "--image-ending",
        default="",
        metavar="TEXT",
        help="voc, mmseg: end of image names after the id",
    )
    parser.add_argument(
        "--mask-ending", default="", metavar="TEXT", help="voc, mmseg: end of mask names after the id"
    )
    parser.add_argument(
        "--reduce-zero-label", action="store_true", help="mmseg: value 0 is not a class, and k is class k-1"
    )
    parser.add_argument(
        "--jobs", type=int, default=len(os.sched_getaffinity(0)), metavar="N", help="processes"
    )
    add_output_options(parser, "counts, classes, notes and problems")
    return parser


def run(arguments: argparse.Namespace, record: Record) -> int:
    """Converts annotations, and returns the exit status.

    Raises:
        ValueError, OSError: if an option does not apply to the format; see also `read` and `convert`.
    """
    for option, formats in _ONLY_FOR.items():
        if getattr(arguments, option) and arguments.format not in formats:
            raise ValueError(
                f"--{option.replace('_', '-')} is only for {' and '.join(formats)}; leave it out"
            )
    if not arguments.out.exists():
        prove_writable(arguments.out)
    classes = None if arguments.classes is None else read_words(arguments.classes)
    options = Options(
        arguments.images,
        classes,
        arguments.image_ending,
        arguments.mask_ending,
        arguments.reduce_zero_label,
    )
    settings = Settings(
        classes,
        tuple(arguments.ignore),
        arguments.rest,
        arguments.overlap,
        arguments.link,
        max(arguments.jobs, 1),
    )
    conversion = convert(read(arguments.format, arguments.source, options), arguments.out, settings)
    dataset = FolderDataset(str(arguments.out), unseen=())
    draw_sheet(dataset, conversion, arguments.out / CONTACT_SHEET)
    report(dataset, conversion, arguments.out, record)
    return 1 if conversion.problems else 0


def draw_sheet(dataset: FolderDataset, conversion: Conversion, path: Path) -> None:
    """Draws a contact sheet of a few images that show as many classes as possible."""
    numbers = {dataset.name(index): index for index in range(len(dataset))}
    samples = []
    for name in sheet_images(conversion.shown, _ON_SHEET):
        image, label, _ = dataset.raw(numbers[name])
        samples.append({"image": image, "label": label, "name": name})
    save_png(draw_contact_sheet(samples, dataset.class_names, dataset.palette), path)


def sheet_images(shown: Mapping[str, Sequence[int]], limit: int) -> list[str]:
    """Chooses at most `limit` images. Each next one shows as many of the missing classes as possible."""
    chosen: list[str] = []
    missing = {index for classes in shown.values() for index in classes}
    left = dict(shown)
    while left and len(chosen) < limit:
        name = max(left, key=lambda entry: len(missing.intersection(left[entry])))
        missing -= set(left.pop(name))
        chosen.append(name)
    return chosen


def report(dataset: FolderDataset, conversion: Conversion, out: Path, record: Record) -> None:
    """Prints counts, notes and problems."""
    parts = [
        (name, Content(len(part.ids), part.pixels, part.occurs, []))
        for name, part in conversion.parts.items()
    ]
    print(table(dataset, parts))
    for note in conversion.notes:
        print(f"note: {note}")
    for problem in conversion.problems[:_SHOWN]:
        print(problem, file=sys.stderr)
    if len(conversion.problems) > _SHOWN:
        print(f"and {len(conversion.problems) - _SHOWN} more in {out / LEFT_OUT}", file=sys.stderr)
    counts = " + ".join(f"{content.images} {name}" for name, content in parts)
    print(f"\n{out}: {len(conversion.shown)} images ({counts}), {len(conversion.names)} classes")
    print(f"look at {out / CONTACT_SHEET}, and at the words in {out / 'classes.txt'}, which CLIP reads")
    if conversion.problems:
        print(f"{len(conversion.problems)} things did not fit; all of them: {out / LEFT_OUT}")
    record(
        {
            "out": out,
            "images": {name: content.images for name, content in parts},
            "classes": conversion.names,
            "notes": conversion.notes,
            "problems": [str(problem) for problem in conversion.problems],
        }
    )


def main(argv: list[str] | None = None) -> int:
    """0 on success, 1 if something did not fit, 2 after an error of the user, 130 after Ctrl-C."""
    arguments = make_parser().parse_args(argv)
    return command_status(arguments, lambda record: run(arguments, record))
