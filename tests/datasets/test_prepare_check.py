"""The check of a prepared dataset lists everything that is wrong, and nothing else."""

import re

import miniature
import numpy as np
import pytest
from PIL import Image
from preparing import SOURCES, problems_of, work

from jseg.datasets import read_mask
from jseg.datasets.prepare import check, prepare


def test_check_lists_every_bad_file(tmp_path):
    """One fault of each kind, in different files. All are found, and nothing else."""
    miniature.unpack(miniature.voc2012(), tmp_path)
    home = prepare("voc2012", work(tmp_path)).home
    train, val, aug = miniature.VOC_TRAIN, miniature.VOC_VAL, sorted(miniature.SBD_ONLY)
    masks, more = home / "SegmentationClass", home / "SegmentationClassAug"
    picture = home / f"JPEGImages/{aug[0]}.jpg"
    picture.write_bytes(picture.read_bytes()[:800])
    (home / f"JPEGImages/{aug[1]}.jpg").unlink()
    (masks / f"{val[0]}.png").unlink()
    (masks / f"{val[1]}.png").write_bytes(b"")
    label = read_mask(more / f"{aug[2]}.png")
    label[2, 3] = 60
    (more / f"{aug[2]}.png").write_bytes(miniature.palette_png(label))
    (more / f"{aug[3]}.png").write_bytes(miniature.palette_png(label[:, :-1] % 20))
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(masks / f"{train[0]}.png")
    with (home / "ImageSets/Segmentation/val.txt").open("a") as file:
        file.write(f"{train[1]}\n{val[3]}\n")
    problems = problems_of("voc2012", tmp_path)
    height, width = label.shape
    expected = [
        rf"train\.txt.*\b1\b.*\bval\.txt.*{train[1]}",
        r"Segmentation/val\.txt.*\b1\b",
        rf"JPEGImages/{aug[0]}\.jpg",
        rf"JPEGImages/{aug[1]}\.jpg",
        rf"SegmentationClass/{val[0]}\.png",
        rf"SegmentationClass/{val[1]}\.png",
        rf"Aug/{aug[2]}\.png.*\b60\b.*\b1\b",
        rf"Aug/{aug[3]}\.png.*\b{width - 1}x{height}\b",
        rf"SegmentationClass/{train[0]}\.png.*RGB",
    ]
    unexplained = list(problems)
    for pattern in expected:
        found = [problem for problem in unexplained if re.search(pattern, problem)]
        assert len(found) == 1, (pattern, problems)
        unexplained.remove(found[0])
    assert unexplained == []


def test_check_of_images_without_masks_and_masks_without_images(tmp_path):
    miniature.unpack(miniature.coco_stuff(), tmp_path)
    home = prepare("coco_stuff", work(tmp_path)).home
    first, second = miniature.COCO["val2017"][:2]
    (home / f"images/val2017/{first}.jpg").unlink()
    (home / f"annotations/val2017/{second}_labelTrainIds.png").unlink()
    report = check("coco_stuff", work(tmp_path))
    assert (
        len(report.problems) == 2
        and report.counts["images in val2017"] == report.counts["masks in val2017"] == 3
    )
    assert f"{first}.jpg" in report.problems[0]
    assert f"{second}_labelTrainIds.png" in report.problems[1]
    prepare("coco_stuff", work(tmp_path))  # makes the mask again; the image stays away
    assert len(problems_of("coco_stuff", tmp_path)) == 1


@pytest.mark.parametrize("name", list(SOURCES))
def test_check_of_what_was_never_prepared(tmp_path, name):
    with pytest.raises(FileNotFoundError, match="--data-root"):
        check(name, work(tmp_path))
    miniature.unpack(SOURCES[name](), tmp_path)
    before = sorted(path for path in tmp_path.rglob("*"))
    assert problems_of(name, tmp_path)
    assert sorted(path for path in tmp_path.rglob("*")) == before
