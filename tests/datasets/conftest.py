"""A tiny dataset in VOC layout, written to a temporary folder."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jseg.datasets import save_mask
from jseg.datasets.classes import voc_palette

NAMES = ("a1", "b2", "c3", "d4", "e5")


@pytest.fixture
def voc_root(tmp_path: Path) -> Path:
    """Five 40x30 images; mask of image k: 0 at the left, k+1 in the middle, 255 in the last column."""
    root = tmp_path / "VOC"
    for folder in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number, name in enumerate(NAMES):
        Image.fromarray(rng.integers(0, 256, (30, 40, 3), np.uint8)).save(root / "JPEGImages" / f"{name}.png")
        mask = np.zeros((30, 40), np.uint8)
        mask[:, 15:] = number + 1
        mask[:, -1] = 255
        save_mask(root / "SegmentationClass" / f"{name}.png", mask, voc_palette(21))
    (root / "ImageSets/Segmentation/train.txt").write_text("\n".join(NAMES) + "\n")
    (root / "ImageSets/Segmentation/val.txt").write_text("b2\nd4\n")
    return root
