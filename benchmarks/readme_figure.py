"""Draws the figure of the README: four images of ZeroShapes, the last of them a failure.

    jseg zeroshapes --out data/zeroshapes
    python benchmarks/readme_figure.py data/zeroshapes docs/images/zeroshapes_panels.png

The predictions are those of `weights/zeroshapes_clip_rc.safetensors` on the validation split.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jseg import Segmenter
from jseg.datasets import load_class_list, read_image, read_mask
from jseg.datasets.masks import check_labels
from jseg.visualization import save_panels

IMAGES = {
    "val_00023": "val_00023",
    "val_00069": "val_00069",
    "val_00207": "val_00207",
    "val_00230": "val_00230, a failure",
}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder that `jseg zeroshapes` wrote")
    parser.add_argument("out", help="PNG file to write")
    args = parser.parse_args()
    classes = load_class_list("zeroshapes")
    segmenter = Segmenter.from_checkpoint("weights/zeroshapes_clip_rc.safetensors")
    rows = []
    for name, caption in IMAGES.items():
        path = args.data / "SegmentationClass" / f"{name}.png"
        image = read_image(args.data / "JPEGImages" / f"{name}.png")
        label = check_labels(read_mask(path), len(classes.names), True, path)
        prediction = segmenter.segment(image, classes.names).mask
        rows.append(dict(image=image, label=label, prediction=prediction, name=caption))
    save_panels(args.out, rows, classes.names, classes.palette, classes.unseen, mask_ignore=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
