"""Draws images, ground truth and predictions of one or more models: the figures of README and docs.

    jseg zeroshapes --out data/zeroshapes
    python benchmarks/readme_figure.py data/zeroshapes docs/images/zeroshapes_panels.png

Without options, these are the predictions of `weights/zeroshapes_clip_rc.safetensors` for four images of the
validation split of ZeroShapes, the last of them a failure. With --models LABEL=CHECKPOINT …, each image is
drawn once for each model.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jseg import Segmenter
from jseg.datasets import load_class_list, read_image, read_mask
from jseg.datasets.masks import check_labels
from jseg.runtime.command import exit_status, prove_writable
from jseg.visualization import save_panels

IMAGES = ["val_00023", "val_00069", "val_00207", "val_00230"]
FAILURES = {"val_00230"}  # of the default model
SHIPPED = "=weights/zeroshapes_clip_rc.safetensors"


def sample(data: Path, image: str, label: str, segmenter: Segmenter, words: list[str]) -> dict[str, Any]:
    """Image, ground truth and prediction, as `save_panels` takes them."""
    path = data / "SegmentationClass" / f"{image}.png"
    pixels = read_image(data / "JPEGImages" / f"{image}.png")
    return dict(
        image=pixels,
        label=check_labels(read_mask(path), len(words), True, path),
        prediction=segmenter.segment(pixels, words).mask,
        name=f"{image}, {label}" if label else image,
    )


def run(args: argparse.Namespace) -> int:
    """Draws the figure.

    Raises:
        ValueError, OSError: a file is missing or not usable, or a model has no label.
    """
    prove_writable(args.out)
    classes = load_class_list(args.dataset)
    segmenters = {}
    for model in args.models:
        label, found, checkpoint = model.partition("=")
        if not found:
            raise ValueError(f"--models {model}: write it as LABEL=CHECKPOINT")
        segmenters[label] = Segmenter.from_checkpoint(checkpoint)
    rows = [
        sample(
            args.data,
            image,
            label or ("a failure" if image in FAILURES and args.models == [SHIPPED] else ""),
            segmenter,
            classes.names,
        )
        for image in args.images
        for label, segmenter in segmenters.items()
    ]
    save_panels(args.out, rows, classes.names, classes.palette, classes.unseen, mask_ignore=True)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder that `jseg zeroshapes` or `jseg zerowords` wrote")
    parser.add_argument("out", type=Path, help="PNG file to write")
    parser.add_argument("--dataset", default="zeroshapes", help="class list; default: zeroshapes")
    parser.add_argument("--images", nargs="+", default=IMAGES, help="names of validation images")
    parser.add_argument("--models", nargs="+", default=[SHIPPED], metavar="LABEL=CHECKPOINT")
    return exit_status(lambda: run(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(main())
