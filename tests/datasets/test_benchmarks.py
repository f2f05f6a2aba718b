"""The three benchmarks as their datasets read them, after the preparation of miniature archives."""

import miniature
import numpy as np
import pytest

from jseg.datasets import (
    DATASETS,
    COCOObjectDataset,
    COCOStuffDataset,
    PascalContextDataset,
    VOCDataset,
    load_class_list,
)
from jseg.datasets.roots import configured_root, new_root

UNSEEN = {
    "voc2012": ["pottedplant", "sheep", "sofa", "train", "tvmonitor"],
    "context60": [
        "aeroplane",
        "bird",
        "boat",
        "cat",
        "cow",
        "fence",
        "keyboard",
        "motorbike",
        "sofa",
        "tvmonitor",
    ],
    "coco_stuff164k": [
        "cow",
        "giraffe",
        "suitcase",
        "frisbee",
        "skateboard",
        "carrot",
        "scissors",
        "cardboard",
        "clouds",
        "grass",
        "playingfield",
        "river",
        "road",
        "tree",
        "wall-concrete",
    ],
}

UNSEEN["context59"] = UNSEEN["context60"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return miniature.prepared(tmp_path_factory.mktemp("benchmarks"))


def labels_of(dataset):
    return {dataset.name(index): dataset.raw(index)[1] for index in range(len(dataset))}


def same(first, second):
    assert list(first) == list(second)
    for name, label in first.items():
        np.testing.assert_array_equal(label, second[name], err_msg=name)


def reduced(mask):
    return np.where(mask == 0, 255, np.where(mask == 255, 255, mask - 1)).astype(np.uint8)


@pytest.mark.parametrize(
    "name, count", [("voc2012", 20), ("context60", 60), ("context59", 59), ("coco_stuff164k", 171)]
)
def test_class_lists(name, count):
    classes = load_class_list(name)
    assert len(classes.names) == len(classes.palette) == count
    assert [classes.names[index] for index in classes.unseen] == UNSEEN[name]


def test_context59_is_context60_without_background():
    with_background, without = load_class_list("context60"), load_class_list("context59")
    assert with_background.names == ("background", *without.names)
    np.testing.assert_array_equal(with_background.palette[1:], without.palette)
    assert without.unseen == (0, 6, 7, 14, 19, 24, 31, 33, 48, 54)  # as the zero-shot releases number them


def test_voc_training_set_of_the_release(root):
    """The exact masks of VOC for train, those of SBD for aug."""
    dataset = VOCDataset(str(root), ("train", "aug"), mask_dir=("SegmentationClass", "SegmentationClassAug"))
    expected = {name: reduced(miniature.voc_mask(name)) for name in miniature.VOC_TRAIN}
    same(
        labels_of(dataset),
        {**expected, **{name: reduced(miniature.sbd_mask(name)) for name in miniature.SBD_ONLY}},
    )


def test_voc_trainaug_falls_back_to_the_exact_mask(root):
    """SBD lacks some training images of VOC; where it has one, its mask is taken."""
    dataset = VOCDataset(str(root), "trainaug", mask_dir=("SegmentationClassAug", "SegmentationClass"))
    mask = {True: miniature.sbd_mask, False: miniature.voc_mask}
    names = sorted(miniature.VOC_TRAIN + miniature.SBD_ONLY)
    same(labels_of(dataset), {name: reduced(mask[name in miniature.SBD](name)) for name in names})


def test_voc_validation(root):
    dataset = VOCDataset(str(root), "val", test_mode=True)
    same(labels_of(dataset), {name: reduced(miniature.voc_mask(name)) for name in miniature.VOC_VAL})


@pytest.mark.parametrize("background", [True, False])
def test_context(root, background):
    dataset = PascalContextDataset(str(root), "val", background=background)
    expected = {
        name: miniature.classes_of(miniature.scene(name, miniature.CONTEXT_VALUES)[1], "context60")
        for name in miniature.CONTEXT_VAL[:-1]
    }
    expected = {name: np.where(label == 255, 0, label).astype(np.uint8) for name, label in expected.items()}
    same(
        labels_of(dataset),
        expected if background else {name: reduced(label) for name, label in expected.items()},
    )
    assert len(dataset.class_names) == 60 - (not background)


@pytest.mark.parametrize("split", list(miniature.COCO))
def test_coco_stuff(root, split):
    dataset = COCOStuffDataset(str(root), split)
    truth = {name: miniature.scene(name, miniature.COCO_VALUES)[1] for name in miniature.COCO[split]}
    same(
        labels_of(dataset),
        {name: miniature.classes_of(label, "coco_stuff164k") for name, label in truth.items()},
    )
    assert len(dataset.class_names) == 171 and len(dataset.unseen) == 15


def test_coco_objects_are_the_things_of_coco_stuff(root):
    """Everything else is background, what has no label included (GroupViT's `convert_coco_object.py`)."""
    dataset = COCOObjectDataset(str(root), "train2017")
    truth = {name: miniature.scene(name, miniature.COCO_VALUES)[1] for name in miniature.COCO["train2017"]}
    stuff = {name: miniature.classes_of(label, "coco_stuff164k") for name, label in truth.items()}
    expected = {name: np.where(label < 80, label + 1, 0).astype(np.uint8) for name, label in stuff.items()}
    same(labels_of(dataset), expected)
    assert any((label == 255).any() for label in stuff.values())
    assert dataset.class_names[:2] == ("background", "person") and len(dataset.class_names) == 81
    assert dataset.class_names[80] == "toothbrush" and len(dataset.palette) == 81


def test_voc_with_background(root):
    dataset = VOCDataset(str(root), "val", classes="voc21", reduce_zero_label=False, test_mode=True)
    same(labels_of(dataset), {name: miniature.voc_mask(name) for name in miniature.VOC_VAL})
    assert len(dataset.class_names) == 21 and dataset.unseen == (16, 17, 18, 19, 20)


def test_images_are_the_published_ones(root):
    image, _, name = COCOStuffDataset(str(root), "val2017").raw(0)
    drawn = miniature.scene(name, miniature.COCO_VALUES)[0]
    assert image.shape == drawn.shape and np.abs(image.astype(int) - drawn).mean() < 12  # JPEG


def test_data_root_may_be_the_data_set_or_the_folder_of_all(root):
    for folder in (root, root / "VOCdevkit", root / "VOCdevkit/VOC2010"):
        assert len(PascalContextDataset(str(folder), "train")) == 5
    for folder in (root, root / "coco_stuff164k"):
        assert len(COCOStuffDataset(str(folder), "val2017")) == 4


@pytest.mark.parametrize(
    "given, made",
    [
        ("d", "d/VOCdevkit/VOC2012"),
        ("d/VOCdevkit", "d/VOCdevkit/VOC2012"),
        ("d/VOCdevkit/VOC2012", "d/VOCdevkit/VOC2012"),
        ("d/VOC2012", "d/VOC2012"),
    ],
)
def test_a_new_data_set_has_its_usual_place_from_every_root(given, made, tmp_path):
    assert new_root(str(tmp_path / given), "voc2012", "JPEGImages") == tmp_path / made


@pytest.mark.parametrize(
    "given, name",
    [
        ("VOC2012", "context60"),
        ("VOCdevkit/VOC2010", "voc2012"),
        ("coco_stuff164k", "voc2012"),
        ("VOC2012", "coco_stuff164k"),
    ],
)
def test_the_folder_of_another_data_set_is_refused(given, name, tmp_path):
    """VOC2012 also has JPEGImages, so it used to be mistaken for Context's folder, and VOC 2010 was unpacked
    into it."""
    (tmp_path / given / "JPEGImages").mkdir(parents=True)
    (tmp_path / given / "images").mkdir()
    with pytest.raises(ValueError, match=f"{given}.*--data-root"):
        new_root(str(tmp_path / given), name, "JPEGImages")


def test_which_setting_of_the_root_counts(monkeypatch):
    monkeypatch.delenv("JSEG_DATA_ROOT", raising=False)
    assert configured_root(None) == "data"
    monkeypatch.setenv("JSEG_DATA_ROOT", "/mnt/sets")
    assert configured_root(None) == "/mnt/sets"
    assert configured_root("elsewhere") == "elsewhere"
    monkeypatch.setenv("JSEG_DATA_ROOT", "")
    assert configured_root(None) == "data"


def test_build_from_configs(root):
    offered = {"data_root": str(root), "seed": 3}
    train = DATASETS.build(
        dict(type="COCOStuffDataset", split="train2017", pipeline=dict(crop_size=32, scale=(128, 40))),
        offered=offered,
    )
    val = DATASETS.build(
        dict(
            type="PascalContextDataset",
            split="val",
            background=False,
            unseen=(),
            test_mode=True,
            pipeline=dict(short_side=32),
        ),
        offered=offered,
    )
    assert train.sample(0)["image"].shape == (3, 32, 32) and train.seed == 3
    assert min(val.sample(0)["image"].shape[1:]) == 32 and val.unseen == ()


# ---- bad input ----


@pytest.mark.parametrize(
    "kind, options, command",
    [
        (VOCDataset, dict(split="train"), "voc2012"),
        (PascalContextDataset, dict(split="train"), "context"),
        (COCOStuffDataset, dict(split="train2017"), "coco_stuff"),
    ],
)
def test_absent_data_set_names_the_setting_and_the_tool(tmp_path, kind, options, command):
    with pytest.raises(FileNotFoundError, match=rf"nowhere.*JSEG_DATA_ROOT.*prepare_dataset\.py {command}\b"):
        kind(str(tmp_path / "nowhere"), **options)
    with pytest.raises(FileNotFoundError, match=rf"data_root.*prepare_dataset\.py {command}\b"):
        kind(str(tmp_path), **options)


def test_coco_mask_missing(root, tmp_path):
    (tmp_path / "images/val2017").mkdir(parents=True)
    (tmp_path / "annotations/val2017").mkdir(parents=True)
    with pytest.raises(ValueError, match="images/val2017"):
        COCOStuffDataset(str(tmp_path), "val2017")
    (tmp_path / "images/val2017/7.jpg").write_bytes(b"")
    (tmp_path / "annotations/val2017/7.png").write_bytes(b"")  # published, not prepared
    pattern = r"annotations/val2017.*'7'.*_labelTrainIds\.png.*tools/prepare_dataset\.py"
    with pytest.raises(FileNotFoundError, match=pattern):
        COCOStuffDataset(str(tmp_path), "val2017")


def test_split_that_names_absent_files(root):
    folder = root / "VOCdevkit/VOC2010/ImageSets/SegmentationContext"
    (folder / "more.txt").write_text("2009_000001\n2031_000001\n")
    with pytest.raises(FileNotFoundError, match="JPEGImages.*2031_000001"):
        PascalContextDataset(str(root), "more")
    (folder / "binary.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"binary\.txt.*UTF-8"):
        PascalContextDataset(str(root), "binary")


def test_unseen_that_is_no_class(root):
    with pytest.raises(ValueError, match="unseen.*giraffe"):
        PascalContextDataset(str(root), "val", unseen=("giraffe",))
