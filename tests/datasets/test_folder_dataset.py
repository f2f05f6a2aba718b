"""Datasets of your own: the three ways to split them, and errors in them."""

import numpy as np
import pytest
from PIL import Image

from jseg.datasets import DATASETS, FolderDataset, save_mask

NAMES = [f"p{number}" for number in range(10)]
CLASSES = ("red car", "blue car", "tree")


def write_image(folder, name, size=(16, 12)):
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size[1], size[0], 3), 90, np.uint8)).save(folder / f"{name}.jpg")


def write_mask(folder, name, value=1, size=(16, 12)):
    folder.mkdir(parents=True, exist_ok=True)
    mask = np.zeros((size[1], size[0]), np.uint8)
    mask[:, size[0] // 2 :] = value
    save_mask(folder / f"{name}.png", mask, [])


@pytest.fixture
def root(tmp_path):
    for name in NAMES:
        write_image(tmp_path / "images", name)
        write_mask(tmp_path / "masks", name)
    (tmp_path / "classes.txt").write_text("\ufeffred car\n\n blue car \ntree\n", encoding="utf-8")
    return tmp_path


def names(dataset):
    return [dataset.name(index) for index in range(len(dataset))]


def test_words_images_and_masks(root):
    (root / "unseen.txt").write_text("tree\n")
    dataset = DATASETS.build(dict(type="FolderDataset", data_root=str(root)))
    assert names(dataset) == NAMES and dataset.class_names == CLASSES and dataset.unseen == (2,)
    image, label, name = dataset.raw(3)
    assert image.shape == (12, 16, 3) and set(np.unique(label)) == {0, 1} and name == "p3"
    shifted = FolderDataset(str(root), reduce_zero_label=True, unseen=["blue car"])
    assert set(np.unique(shifted.raw(3)[1])) == {0, 255} and shifted.unseen == (1,)
    assert FolderDataset(str(root), classes=("a", "b"), unseen=()).unseen == ()


def test_images_are_set_aside_by_name(root):
    train, val = (names(FolderDataset(str(root), part, val_share=0.3)) for part in ("train", "val"))
    assert len(val) == 3 and sorted(train + val) == NAMES
    assert names(FolderDataset(str(root), "val", val_share=0.3)) == val
    assert any(
        names(FolderDataset(str(root), "val", val_share=0.3, split_seed=seed)) != val for seed in (1, 2, 3)
    )
    write_image(root / "images", "new")
    write_mask(root / "masks", "new")
    assert len(set(names(FolderDataset(str(root), "val", val_share=0.3))) - set(val)) <= 1
    assert len(FolderDataset(str(root), "val", val_share=0.001)) == 1


def test_lists_win(root):
    (root / "train.txt").write_text("p1\np2.jpg\n")
    (root / "val.txt").write_text("p3\n")
    assert names(FolderDataset(str(root), "train")) == ["p1", "p2"]
    (root / "masks" / "p9.png").unlink()  # not listed: not needed
    assert names(FolderDataset(str(root), "val")) == ["p3"]


def test_folders_of_a_split(root):
    for part, name in (("train", "a"), ("val", "b")):
        write_image(root / "images" / part, name)
        write_mask(root / "masks" / part, name)
    assert names(FolderDataset(str(root), "train")) == ["a"] and names(FolderDataset(str(root), "val")) == [
        "b"
    ]
    with pytest.raises(FileNotFoundError, match=r"images/test.*\btrain\b.*\bval\b"):
        FolderDataset(str(root), "test")


def test_images_without_masks_can_be_segmented_only(root):
    write_image(root / "new", "x", (20, 10))
    dataset = FolderDataset(str(root), image_dir="new", mask_dir=None, test_mode=True)
    assert dataset.sample(0)["original_size"] == (10, 20)
    with pytest.raises(ValueError, match="mask_dir.*test_mode"):
        FolderDataset(str(root), image_dir="new", mask_dir=None)


def test_masks_with_an_ending(root):
    for name in NAMES:
        (root / "masks" / f"{name}.png").rename(root / "masks" / f"{name}_mask.png")
    assert len(FolderDataset(str(root), mask_ending="_mask")) == 10
    with pytest.raises(FileNotFoundError, match=r"'p0'.*\b9\b.*p0_mask.png.*mask_ending"):
        FolderDataset(str(root))


def test_images_with_an_ending(root):
    """Cityscapes and mmsegmentation's samples: a word after the id of the image as well as of the mask."""
    for name in NAMES:
        (root / "images" / f"{name}.jpg").rename(root / "images" / f"{name}_leftImg8bit.jpg")
        (root / "masks" / f"{name}.png").rename(root / "masks" / f"{name}_gtFine_labelTrainIds.png")
        write_mask(root / "masks", f"{name}_gtFine_instanceIds")
    endings = dict(image_ending="_leftImg8bit", mask_ending="_gtFine_labelTrainIds")
    dataset = FolderDataset(str(root), **endings)
    with_suffix = {option: f"{ending}.png" for option, ending in endings.items()}  # as in mmsegmentation
    assert FolderDataset(str(root), **with_suffix).records == dataset.records
    assert names(dataset) == NAMES
    assert dataset.records[2].image.name == "p2_leftImg8bit.jpg"
    assert dataset.records[2].mask.name == "p2_gtFine_labelTrainIds.png"
    (note,) = dataset.notes()
    assert " 10 (" in note and "p0_gtFine_instanceIds.png" in note
    (root / "val.txt").write_text("p1\np2_leftImg8bit\np3_leftImg8bit.jpg\n")
    val = FolderDataset(str(root), "val", **endings)
    assert names(val) == ["p1", "p2", "p3"] and "p0_leftImg8bit.jpg" in val.notes()[-1]
    with pytest.raises(FileNotFoundError, match=r"'p0_leftImg8bit'.*image_ending"):
        FolderDataset(str(root), mask_ending="_gtFine_labelTrainIds")
    with pytest.raises(ValueError, match=r"_img\.jpg.*image_ending"):
        FolderDataset(str(root), image_ending="_img")


def test_images_and_masks_of_one_folder_are_told_by_their_endings(root):
    for name in NAMES:
        (root / "images" / f"{name}.jpg").rename(root / "images" / f"{name}_img.jpg")
        (root / "masks" / f"{name}.png").rename(root / "images" / f"{name}_mask.png")
    dataset = FolderDataset(str(root), mask_dir="images", image_ending="_img", mask_ending="_mask")
    assert names(dataset) == NAMES and dataset.notes() == []


def spoil_list(root):
    (root / "train.txt").write_text("p1\nghost\n")


def spoil_size(root):
    write_mask(root / "masks", "p0", size=(5, 5))


def spoil_colours(root):
    Image.fromarray(np.zeros((12, 16, 3), np.uint8)).save(root / "masks" / "p0.png")


MISTAKES = {
    "root": (lambda root: None, dict(data_root="nowhere"), "nowhere.*data_root"),
    "images": (lambda root: None, dict(image_dir="pictures"), "pictures.*image_dir"),
    "mask": (lambda root: (root / "masks/p4.png").unlink(), {}, r"masks.*'p4'.*train.txt.*val.txt"),
    "size": (spoil_size, {}, "p0.png.*5x5.*p0.jpg.*16x12"),
    "label": (lambda root: write_mask(root / "masks", "p0", 7), {}, r"p0.png.*\b7\b.*\b96\b.*0\.\.2\b.*255"),
    "colours": (spoil_colours, {}, "p0.png.*RGB"),
    "unseen word": (
        lambda root: (root / "unseen.txt").write_text("blue cat\n"),
        {},
        "unseen.txt.*'blue cat'.*blue car",
    ),
    "unseen option": (lambda root: None, dict(unseen=["tee"]), "unseen.*'tee'.*tree"),
    "classes": (lambda root: (root / "classes.txt").unlink(), {}, "classes.txt"),
    "no class": (lambda root: (root / "classes.txt").write_text("\n"), {}, "classes.txt.*empty"),
    "list": (spoil_list, dict(split="train"), "images.*'ghost'.*train.txt"),
    "one list": (spoil_list, dict(split="val"), r"val.txt.*\btrain\b"),
    "one line": (
        lambda root: (root / "classes.txt").write_text("red car, blue car; tree\n"),
        {},
        r"classes\.txt.*\b2\b.*one entry per line",
    ),
    "one line of ids": (
        lambda root: (root / "train.txt").write_text("p1,p2,p3\n"),
        dict(split="train"),
        r"train\.txt.*\b3\b.*one entry per line",
    ),
    "one class": (
        lambda root: (root / "classes.txt").write_text("red car blue car\n"),
        dict(unseen=["red car"]),
        "'red car'.*'red car blue car'",
    ),
    "twice": (lambda root: (root / "val.txt").write_text("p1\np1\n"), dict(split="val"), "val.txt.*'p1'"),
    "test": (lambda root: None, dict(split="test"), r"\bsplit\b.*'test'.*\btrain\b.*\bval\b"),
    "share": (lambda root: None, dict(val_share=1.5), "val_share.*1.5"),
}


@pytest.mark.parametrize("spoil, options, pattern", MISTAKES.values(), ids=list(MISTAKES))
def test_mistakes_are_named(root, spoil, options, pattern):
    spoil(root)
    with pytest.raises((ValueError, FileNotFoundError), match=pattern) as error:
        FolderDataset(**{"data_root": str(root), **options}).raw(0)
    assert "\n" not in str(error.value)
