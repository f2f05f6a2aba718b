"""Unused files in the folders of a dataset are counted and named."""

import numpy as np
import pytest
from PIL import Image

from jseg.cli import check_dataset
from jseg.datasets import COCOStuffDataset, FolderDataset, VOCDataset, save_mask
from jseg.datasets.leftovers import left_out, shared_files


def write(root, *names, masks=True):
    for name in names:
        folder, _, stem = name.rpartition("/")
        for kind in ("images", "masks"):
            (root / kind / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((6, 8, 3), 90, np.uint8)).save(root / "images" / folder / f"{stem}.jpg")
        if masks:
            save_mask(root / "masks" / folder / f"{stem}.png", np.zeros((6, 8), np.uint8), [])


@pytest.fixture
def root(tmp_path):
    (tmp_path / "classes.txt").write_text("red car\ntree\n")
    return tmp_path


def test_nothing_is_left_out(root):
    write(root, "a", "b", "c")
    (root / "images/.DS_Store").write_bytes(b"")
    dataset = FolderDataset(str(root), "train")
    assert dataset.notes() == [] and len(dataset.files()) == 2
    assert FolderDataset(str(root), image_dir="images", mask_dir=None, test_mode=True).notes() == []


def test_other_formats_folders_stems_and_masks(root):
    """A TIFF, a subfolder of images and `a.png` next to `a.jpg` used to be ignored silently."""
    write(root, "a", "b")
    Image.new("RGB", (8, 6)).save(root / "images/c.tif")
    Image.new("RGB", (8, 6)).save(root / "images/a.png")
    (root / "images/more").mkdir()
    for name in "xyz":
        Image.new("RGB", (8, 6)).save(root / f"images/more/{name}.jpg")
    (root / "masks/ghost.png").write_bytes((root / "masks/a.png").read_bytes())
    (root / "masks/a.txt").write_text("")
    images, masks = FolderDataset(str(root), "train").notes()
    assert images.startswith(f"{root / 'images'}: ") and " 5 (" in images
    assert all(name in images for name in ("a.png", "c.tif", "more/ with 3")) and "a.jpg" not in images
    assert masks.startswith(f"{root / 'masks'}: ") and " 2 (" in masks and "a.txt, ghost.png" in masks


def test_images_in_no_list(root):
    write(root, "a", "b", "c")
    (root / "train.txt").write_text("a\n")
    (root / "val.txt").write_text("b.jpg\n")
    (note,) = FolderDataset(str(root), "train").notes()
    assert " 1 (" in note and "c.jpg" in note and "b.jpg" not in note
    (root / "test.txt").write_text("c\n")
    assert FolderDataset(str(root), "val").notes() == []


def test_folders_of_a_split(root):
    write(root, "train/a", "val/b")
    assert FolderDataset(str(root), "train").notes() == []
    write(root, "loose", "old/c")
    notes = FolderDataset(str(root), "train").notes()
    assert len(notes) == 2 and all(" 2 (" in note and "old/ with 1" in note for note in notes)
    assert "loose.jpg" in notes[0] and "loose.png" in notes[1]
    (root / "train.txt").write_text("loose\n")  # now these folders are not read
    assert "train/ with 1" in FolderDataset(str(root), "train").notes()[0]


def test_images_and_masks_in_one_folder(root):
    write(root, "a", "b")
    for path in (root / "masks").iterdir():
        path.rename(root / "images" / path.name)
    (root / "masks").rmdir()
    assert FolderDataset(str(root), mask_dir="images").notes() == []


def test_ids_in_train_and_val(root, capsys):
    write(root, "a", "b", "c")
    (root / "train.txt").write_text("a\nb\n")
    (root / "val.txt").write_text("b\nc\n")
    train, val = (FolderDataset(str(root), part) for part in ("train", "val"))
    (note,) = shared_files(train.files(), val.files())
    assert note.endswith(" 1 (b.jpg)")
    config = root / "config.py"
    parts = {part: dict(type="FolderDataset", split=part) for part in ("train", "val")}
    config.write_text(
        f"dataset = {parts!r}\ndata_root = {str(root)!r}\nmodel = dict(type='CLIPRC')\n"
        "max_iters = batch_size = 1\noptimizer = scheduler = dict(type='x')\n"
    )
    assert check_dataset.main(["--config", str(config), "--jobs", "1"]) == 0
    assert note in capsys.readouterr().out


def test_of_voc_and_coco(voc_root, tmp_path):
    assert VOCDataset(str(voc_root), "val", classes=tuple("abcdef")).notes() == []
    (voc_root / "SegmentationClass/a1_instance.tif").write_bytes(b"")
    (note,) = VOCDataset(str(voc_root), "val", classes=tuple("abcdef")).notes()
    assert "a1_instance.tif" in note
    images, masks = (tmp_path / f"coco/{kind}/val2017" for kind in ("images", "annotations"))
    for folder in (images, masks):
        folder.mkdir(parents=True)
    (images / "000000000139.jpg").write_bytes(b"")
    for ending in ("", "_labelTrainIds", "_instanceTrainIds"):
        (masks / f"000000000139{ending}.png").write_bytes(b"")
    (note,) = COCOStuffDataset(str(tmp_path / "coco"), "val2017").notes()
    assert note.endswith(" 1 (000000000139_instanceTrainIds.png)")


def test_a_missing_folder(tmp_path):
    assert left_out(tmp_path / "nowhere", []) == []
