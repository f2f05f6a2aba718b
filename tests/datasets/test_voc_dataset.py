"""Reading the VOC layout: labels, class lists, repeatability, and one clear error for each broken file."""

import numpy as np
import pytest
from PIL import Image

from jseg.datasets import DATASETS, VOCDataset, load_class_list, read_mask, save_mask
from jseg.datasets.classes import voc_palette

SMALL = dict(crop_size=24, scale=(80, 30))


def build(root, **options):
    return VOCDataset(str(root), **{"split": "train", "pipeline": SMALL, **options})


def test_raw_labels_are_reduced_indices_never_colours(voc_root):
    image, label, name = build(voc_root).raw(2)
    assert (name, image.shape, image.dtype, label.dtype) == ("c3", (30, 40, 3), np.uint8, np.uint8)
    np.testing.assert_array_equal(image, np.array(Image.open(voc_root / "JPEGImages/c3.png")))
    # Raw row: fifteen 0, twenty-four 3, one 255; reduced: 0 -> 255, 3 -> 2, 255 stays.
    np.testing.assert_array_equal(label[0], [255] * 15 + [2] * 24 + [255])


def test_without_reduction_the_values_are_kept(voc_root):
    label = build(voc_root, reduce_zero_label=False).raw(2)[1]
    np.testing.assert_array_equal(label[0], [0] * 15 + [3] * 24 + [255])


def test_grey_masks_read_like_palette_masks(voc_root):
    path = voc_root / "SegmentationClass/c3.png"
    before = build(voc_root).raw(2)[1]
    Image.fromarray(read_mask(path)).save(path)
    assert Image.open(path).mode == "L"
    np.testing.assert_array_equal(build(voc_root).raw(2)[1], before)


def test_training_sample(voc_root):
    sample = build(voc_root).sample(1, 0)
    assert sample["image"].shape == (3, 24, 24) and sample["image"].dtype == np.float32
    assert sample["image"].flags.c_contiguous
    assert sample["label"].shape == (24, 24) and sample["label"].dtype == np.uint8
    assert set(np.unique(sample["label"])) <= {1, 255}
    assert (sample["name"], sample["original_size"]) == ("b2", (30, 40))


def test_test_sample_resizes_the_image_only(voc_root):
    dataset = build(voc_root, split="val", test_mode=True, pipeline=dict(short_side=60))
    sample = dataset.sample(1, 0)
    assert (sample["name"], sample["image"].shape, sample["label"].shape) == ("d4", (3, 60, 80), (30, 40))
    np.testing.assert_array_equal(sample["label"], dataset.raw(1)[1])


def test_samples_depend_on_seed_epoch_and_index_only(voc_root):
    first, second = build(voc_root), build(voc_root)
    second.sample(4, 7)  # other requests in between change nothing
    for key in ("image", "label"):
        np.testing.assert_array_equal(first.sample(3, 2)[key], second.sample(3, 2)[key])
    assert not np.array_equal(first.sample(3, 2)["image"], first.sample(3, 3)["image"])
    assert not np.array_equal(first.sample(3, 2)["image"], build(voc_root, seed=1).sample(3, 2)["image"])


def test_an_image_smaller_than_the_crop_is_padded(voc_root):
    settings = dict(crop_size=64, scale=(40, 30), ratio_range=(1, 1), flip_prob=0, photometric=False)
    sample = build(voc_root, pipeline=settings).sample(0, 0)
    assert sample["image"].shape == (3, 64, 64)
    assert np.all(sample["image"][:, 30:] == 0) and np.all(sample["image"][:, :, 40:] == 0)
    assert np.all(sample["label"][30:] == 255) and np.all(sample["label"][:30, 15:39] == 0)


def test_several_splits_and_mask_folders(voc_root):
    """The released VOC training set: the exact mask where there is one, the SBD mask otherwise."""
    (voc_root / "SegmentationClassAug").mkdir()
    (voc_root / "SegmentationClass/a1.png").rename(voc_root / "SegmentationClassAug/a1.png")
    save_mask(voc_root / "SegmentationClassAug/b2.png", np.zeros((30, 40), np.uint8), voc_palette(21))
    (voc_root / "ImageSets/Segmentation/aug.txt").write_text("a1\n")
    dataset = build(voc_root, split=("val", "aug"), mask_dir=("SegmentationClass", "SegmentationClassAug"))
    assert [dataset.name(i) for i in range(len(dataset))] == ["b2", "d4", "a1"]
    assert dataset.raw(0)[1].min() == 1 and dataset.raw(2)[1].min() == 0


def test_builds_from_a_config(voc_root):
    dataset = DATASETS.build(dict(type="VOCDataset", data_root=str(voc_root), split="val", test_mode=True))
    assert len(dataset) == 2


def test_voc2012_class_list():
    voc = load_class_list("voc2012")
    assert len(voc.names) == 20 and voc.names[14] == "person"
    assert [voc.names[i] for i in voc.unseen] == ["pottedplant", "sheep", "sofa", "train", "tvmonitor"]
    np.testing.assert_array_equal(voc.palette, voc_palette(21)[1:])  # the file agrees with the colour formula


def test_zeroshapes_class_list():
    shapes = load_class_list("zeroshapes")
    assert len(shapes.names) == len(shapes.palette) == 20 and len(shapes.unseen) == 5


def test_own_classes_and_split(voc_root):
    dataset = build(voc_root, classes=tuple("abcde"), unseen=("e", 1))
    assert (dataset.class_names, dataset.unseen, dataset.palette.shape) == (tuple("abcde"), (1, 4), (5, 3))
    assert build(voc_root, unseen=()).unseen == ()


def test_saved_mask_keeps_values_and_colours(tmp_path):
    label = np.array([[0, 1, 2], [255, 1, 0]])
    save_mask(tmp_path / "m.png", label, [[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), label)
    colours = np.array(Image.open(tmp_path / "m.png").convert("RGB"))
    assert colours[0].tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert colours[1, 0].tolist() == [224, 224, 192]
    with pytest.raises(ValueError, match=r"m\.png.*0\.\.255"):
        save_mask(tmp_path / "m.png", np.array([[256]]), voc_palette(2))


# ---- bad input: each message names the file or option, the problem and the fix ----


def refused(kind, *parts):
    """pytest.raises whose one-line message contains all parts."""
    return pytest.raises(kind, match=r"\A(?=[^\n]*\Z)" + "".join(f"(?=.*{part})" for part in parts))


def test_missing_folder(tmp_path):
    with refused(FileNotFoundError, "nowhere.*data_root"):
        build(tmp_path / "nowhere")
    with refused(FileNotFoundError, "nowhere", r"make_zeroshapes\.py"):
        build(tmp_path / "nowhere", classes="zeroshapes")


@pytest.mark.parametrize("option", ["image_dir", "mask_dir"])
def test_missing_subfolder(voc_root, option):
    with refused(FileNotFoundError, r"Pictures.*\bdata_root\b", rf"Pictures.*\b{option}\b"):
        build(voc_root, **{option: "Pictures"})


def test_missing_split_lists_the_others(voc_root):
    with refused(FileNotFoundError, r"test\.txt", r"\btrain\b", r"\bval\b"):
        build(voc_root, split="test")


def test_empty_split(voc_root):
    (voc_root / "ImageSets/Segmentation/none.txt").write_text("\n \n")
    with refused(ValueError, r"none\.txt.*empty"):
        build(voc_root, split="none")


@pytest.mark.parametrize("folder", ["JPEGImages", "SegmentationClass"])
def test_file_missing_for_an_id(voc_root, folder):
    (voc_root / folder / "d4.png").unlink()
    (voc_root / folder / "e5.png").unlink()
    with refused(FileNotFoundError, rf"{folder}.*'d4'.*\b1\b"):
        build(voc_root)


def test_file_that_vanishes_after_the_start(voc_root):
    dataset = build(voc_root)
    (voc_root / "JPEGImages/a1.png").unlink()
    with refused(FileNotFoundError, r"JPEGImages/a1\.png"):
        dataset.raw(0)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_truncated_image(voc_root, suffix, share):
    path = voc_root / "JPEGImages" / f"a1.{suffix}"
    picture = Image.open(voc_root / "JPEGImages/a1.png").convert("RGB")
    picture.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with refused(ValueError, rf"JPEGImages/a1\.{suffix}"):
        build(voc_root).raw(0)


@pytest.mark.parametrize(
    "damage", [lambda data: b"not an image", lambda data: data[:60] + b"\xff" * 20 + data[80:]]
)
def test_damaged_mask(voc_root, damage):
    path = voc_root / "SegmentationClass/b2.png"
    path.write_bytes(damage(path.read_bytes()))
    with refused(ValueError, r"SegmentationClass/b2\.png"):
        build(voc_root).raw(1)


def test_mask_of_another_size(voc_root):
    save_mask(voc_root / "SegmentationClass/b2.png", np.ones((30, 39), np.uint8), voc_palette(21))
    with refused(ValueError, r"SegmentationClass/b2\.png.*39x30", r"JPEGImages/b2\.png.*40x30"):
        build(voc_root).raw(1)


def test_rgb_mask(voc_root):
    path = voc_root / "SegmentationClass/b2.png"
    Image.open(path).convert("RGB").save(path)
    with refused(ValueError, r"SegmentationClass/b2\.png", "RGB"):
        build(voc_root).raw(1)


def test_grey_mask_of_four_bits(voc_root):
    """Pillow reads the values 0..15 of such a file as 0, 17, ..., 255: silently wrong classes."""
    import struct
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + b"\x11" * 20 for _ in range(30))
    (voc_root / "SegmentationClass/b2.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", struct.pack(">IIBBBBB", 40, 30, 4, 0, 0, 0, 0))
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    with refused(ValueError, r"b2\.png", r"\b8\b", "L;4"):
        build(voc_root).raw(1)


def test_label_outside_the_class_list(voc_root):
    mask = np.ones((30, 40), np.uint8)
    mask[3, :7] = 21
    save_mask(voc_root / "SegmentationClass/b2.png", mask, voc_palette(22))
    with refused(ValueError, r"SegmentationClass/b2\.png.*\b21\b.*\b7\b.*0\.\.20\b.*\b255\b"):
        build(voc_root).raw(1)
    with refused(ValueError, r"b2\.png.*\b20\b.*\b1\b.*0\.\.19\b"):  # 20 is a class only after reduction
        mask[3, :7] = 1
        mask[0, 0] = 20
        save_mask(voc_root / "SegmentationClass/b2.png", mask, voc_palette(22))
        build(voc_root, reduce_zero_label=False).raw(1)


@pytest.mark.parametrize(
    "options, parts",
    [
        (dict(classes="voc2021"), ("voc2021", "voc2012")),
        (dict(classes=("a", "b", "a")), ("class", "'a'")),
        (dict(unseen=("shep",)), ("unseen", "shep", "sheep")),
        (dict(unseen=(20,)), ("unseen", r"\b20\b.*0\.\.19\b")),
        (dict(seed=-1), ("seed.*-1",)),
        (dict(pipeline=dict(crop_sise=3)), ("crop_sise", "crop_size")),
        (dict(pipeline=dict(crop_size=0)), (r"RandomCrop\.crop_size.*\b0\b",)),
        (dict(pipeline=[dict(type="RandomFlop")]), ("RandomFlop", "RandomFlip")),
    ],
)
def test_impossible_options(voc_root, options, parts):
    with refused(ValueError, *parts):
        build(voc_root, **options)


def test_pipeline_without_normalisation(voc_root):
    with refused(ValueError, "pipeline", "Normalize"):
        build(voc_root, pipeline=[dict(type="RandomFlip")]).sample(0)
