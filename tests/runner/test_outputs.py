"""Masks and scores of individual images written by an evaluation, and scoring of saved masks."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_clip_rc import segmentor

from jseg.cli import evaluate_masks
from jseg.datasets import FolderDataset, SegmentationDataset, VOCDataset, save_mask
from jseg.datasets.base import Record
from jseg.datasets.classes import load_class_list, raw_values
from jseg.evaluation import HEADLINE, json_ready
from jseg.inference.recipe import check_inference
from jseg.runner.evaluate import evaluate, save_predictions
from jseg.runner.log import RunLog
from jseg.runner.outputs import WRITTEN, ImageOutputs
from jseg.runner.prediction import predict_mask
from jseg.runtime.backend import jt

INFERENCE = dict(mode="whole", scales=(1.0,), flip=False)
SIZE = (30, 40)


class Guess:
    """Class scores from the colour of a pixel, often wrong."""

    patch_size, num_regions, late_softmax = 1, 0, None

    def __init__(self, num_classes):
        self.weights = np.random.default_rng(0).normal(size=(num_classes, 3)).astype(np.float32)

    def predict(self, image):
        return jt.array(np.einsum("ck,bkhw->bchw", self.weights, image.numpy()))

    def predict_on_grid(self, image):
        return None


@pytest.fixture(params=["voc", "own"])
def case(request, tmp_path):
    """Dataset, the folder of its true masks, and the options of the tool that describe them."""
    if request.param == "voc":  # background 0, classes from 1, 255
        root, values = tmp_path / "VOC", (0, 1, 16, 20, 255)
        images, masks, split = (
            root / "JPEGImages",
            root / "SegmentationClass",
            root / "ImageSets/Segmentation/val.txt",
        )
        options = ["--dataset", "voc2012"]
    else:
        root, values = tmp_path / "own", (0, 1, 3, 255)  # class 2 does not occur
        images, masks, split = root / "images", root / "masks", root / "val.txt"
        options = ["--classes", str(root / "classes.txt"), "--unseen", str(root / "unseen.txt")]
    for folder in (images, masks, split.parent):
        folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    for name in ("a", "b", "c"):
        Image.fromarray(rng.integers(0, 256, (*SIZE, 3), np.uint8)).save(images / f"{name}.png")
        save_mask(masks / f"{name}.png", rng.choice(values, SIZE), [])
    split.write_text("c\na\n")  # b has a mask but is not of the split
    if request.param == "voc":
        return VOCDataset(str(root), "val", test_mode=True, pipeline=dict(short_side=20)), masks, options
    (root / "classes.txt").write_text("w\nx\ny\nz\n")
    (root / "unseen.txt").write_text("x\n")
    return FolderDataset(str(root), "val", test_mode=True, pipeline=dict(short_side=20)), masks, options


def read_lines(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def counted(capsys):
    """The numbers in the last line printed, which counts images."""
    return re.findall(r"\d+", capsys.readouterr().out.splitlines()[-1])


def test_saved_masks_score_as_the_run_did(case, tmp_path, capsys):
    dataset, truth, options = case
    outputs = ImageOutputs(dataset, str(tmp_path / "masks"), str(tmp_path / "run.jsonl"))
    summary = evaluate(
        Guess(len(dataset.class_names)), dataset, INFERENCE, RunLog(None, active=False), outputs
    )
    assert np.sum(summary.pop("confusion")) > 0
    assert np.isfinite([summary["mIoU(S)"], summary["mIoU(U)"], summary["hIoU"]]).all()
    status = evaluate_masks.main(
        [
            str(tmp_path / "masks"),
            str(truth),
            *options,
            "--out",
            str(tmp_path / "m.json"),
            "--per-image",
            str(tmp_path / "tool.jsonl"),
        ]
    )
    assert status == 0 and counted(capsys) == ["2"]
    scored = json.loads((tmp_path / "m.json").read_text())
    assert scored.pop("images") == 2 and scored == json.loads(json.dumps(json_ready(summary)))
    of_run = read_lines(tmp_path / "run.jsonl")
    assert [record["name"] for record in of_run] == ["c", "a"]
    assert sorted(of_run, key=lambda record: record["name"]) == read_lines(tmp_path / "tool.jsonl")
    assert set(of_run[0]) == {"name", "pixels", "iou", *HEADLINE}


def test_options_for_masks_of_ones_own_and_for_a_split(tmp_path, capsys):
    main = evaluate_masks.main
    rng = np.random.default_rng(3)
    for name in ("a", "b"):
        for folder, ending, values in (("masks", "_mask", (0, 1, 2, 255)), ("predicted", "", (0, 1))):
            (tmp_path / folder).mkdir(exist_ok=True)
            save_mask(tmp_path / folder / f"{name}{ending}.png", rng.choice(values, SIZE), [])
    (tmp_path / "predicted" / "._a.png").write_bytes(b"what macOS leaves")
    (tmp_path / "classes.txt").write_text("w\nx\n")
    (tmp_path / "split.txt").write_text("a.jpg\n")
    folders, split = (
        [str(tmp_path / "predicted"), str(tmp_path / "masks")],
        ["--split", str(tmp_path / "split.txt")],
    )
    options = ["--classes", str(tmp_path / "classes.txt"), "--reduce-zero-label", "--mask-ending", "_mask"]
    assert main([*folders, *options]) == 0 and counted(capsys) == ["2"]
    assert main([*folders, *options, *split]) == 0 and counted(capsys) == ["1"]
    (tmp_path / "split.txt").write_text("a\na.jpg\n")
    assert main([*folders, *options, *split]) == 2 and re.search(r"split\.txt.*'a'", capsys.readouterr().err)
    for wrong in (["--dataset", "voc2012", "--mask-ending", "_mask"], [*options, "--all-seen"]):
        with pytest.raises(SystemExit):
            main([*folders, *wrong])


def test_all_classes_count_as_seen_on_demand(tmp_path, capsys):
    for folder in ("masks", "predicted"):
        (tmp_path / folder).mkdir()
        save_mask(tmp_path / folder / "a.png", np.arange(60, dtype=np.uint8).reshape(6, 10), [])
    arguments = [str(tmp_path / "predicted"), str(tmp_path / "masks"), "--dataset", "context60"]
    means = []
    for more in ([], ["--all-seen"]):
        assert evaluate_masks.main([*arguments, *more, "--out", str(tmp_path / "m.json")]) == 0
        means.append([json.loads((tmp_path / "m.json").read_text())[key] for key in ("mIoU", "mIoU(U)")])
    assert means == [[100, 100], [100, None]]


def test_bad_folders_and_masks_are_named(case, tmp_path, capsys):
    _, truth, options = case
    predictions = tmp_path / "predicted"
    predictions.mkdir()
    main = evaluate_masks.main

    def error_of(*more):
        assert main([str(predictions), str(truth), *options, *more]) == 2
        captured = capsys.readouterr().err
        assert captured.startswith("error: ") and captured.count("\n") == 1
        return captured

    assert "PNG" in error_of()
    save_mask(predictions / "a.png", np.zeros(SIZE, np.uint8), [])
    (tmp_path / "split.txt").write_text("a\nc\n")
    assert "c.png" in error_of("--split", str(tmp_path / "split.txt"))
    save_mask(predictions / "zzz.png", np.zeros(SIZE, np.uint8), [])
    assert "zzz.png" in error_of()
    (predictions / "zzz.png").unlink()
    save_mask(predictions / "a.png", np.full(SIZE, 200, np.uint8), [])
    assert re.search(r"\ba\.png\b.*\b200\b", error_of())
    save_mask(predictions / "a.png", np.zeros((3, 4), np.uint8), [])
    assert re.search(r"\ba\.png\b.*\b4x3\b", error_of())


def test_files_are_tried_before_masks_are_scored(case, tmp_path, capsys, monkeypatch):
    _, truth, options = case
    monkeypatch.setattr(evaluate_masks, "image_confusion", None)
    (tmp_path / "file").write_text("")
    arguments = [str(truth), str(truth), *options]
    for option in ("--out", "--per-image"):
        assert evaluate_masks.main([*arguments, option, str(tmp_path / "file" / "x")]) == 2
        assert "file/x" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        evaluate_masks.main([*arguments, "--out", "x", "--per-image", "./x"])


def test_test_time_augmentation_by_options():
    """Flipping must not change the result of a model that uses single pixels, but scales do."""
    image = np.random.default_rng(2).normal(size=(3, 8, 12)).astype(np.float32)
    sample = {"image": image, "original_size": (8, 12)}
    plain, flipped, scaled = (
        predict_mask(Guess(4), sample, {**INFERENCE, **more})
        for more in ({}, dict(flip=True), dict(scales=(0.5, 1.0)))
    )
    np.testing.assert_array_equal(plain, flipped)
    assert (plain != scaled).any()


def test_nothing_but_the_mask_leaves_the_device(monkeypatch):
    fetched, fetch = [], jt.Var.numpy
    model = segmentor()
    model.eval()
    image = np.random.default_rng(2).normal(size=(3, 40, 56)).astype(np.float32)
    slide = dict(mode="slide", crop_size=32, stride=24, scales=(1.0,), flip=True)
    sample = {"image": image, "original_size": (31, 45)}
    predict_mask(model, sample, slide)  # keeps positions
    monkeypatch.setattr(jt.Var, "numpy", lambda x: fetched.append(fetch(x)) or fetched[-1])
    mask = predict_mask(model, sample, slide)
    assert mask.shape == (31, 45) and mask.dtype == np.uint8
    assert sum(array.nbytes for array in fetched) == mask.nbytes


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(mode="hole"), "inference.mode"),
        (dict(mode="slide"), "crop_size.*stride"),
        (dict(scales=()), "inference.scales"),
        (dict(scales=(0,)), "inference.scales"),
        (dict(scales=("1",)), "inference.scales"),
    ],
)
def test_impossible_inference_is_refused_at_once(make_config, options, message):
    from jseg.runner import Runner

    with pytest.raises(ValueError, match=message):
        check_inference({**INFERENCE, **options})
    with pytest.raises(ValueError, match=message):
        Runner(make_config(inference={**INFERENCE, **options}))


def test_masks_of_an_earlier_run_are_removed_and_nothing_else(case, tmp_path):
    """Predictions of another dataset used to remain among the new ones, and were scored by
    evaluate_masks."""
    dataset = case[0]
    folder = tmp_path / "masks"
    folder.mkdir()
    (folder / "own.png").write_text("of the user")
    (tmp_path / "outside.png").write_text("of the user")
    model, log = Guess(len(dataset.class_names)), RunLog(None, active=False)
    save_predictions(model, Named(dataset, "earlier/"), INFERENCE, str(folder), log)
    assert {path.name for path in (folder / "earlier").iterdir()} == {"c.png", "a.png"}
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "own.png").write_text("of the user")
    (folder / "link").symlink_to(tmp_path / "linked")
    (folder / "folder.png").mkdir()
    with (folder / WRITTEN).open("a") as file:
        file.write(
            f"../outside.png\n{tmp_path}/outside.png\nlink/own.png\nlink/../outside.png\nfolder.png\n\0.png\n"
            "other\u2028own.png\n"
        )
    (folder / "earlier" / "a.png").unlink()
    save_predictions(model, dataset, INFERENCE, str(folder), log)
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.glob("masks/**/*.png")} == {
        "masks/own.png",
        "masks/a.png",
        "masks/c.png",
        "masks/folder.png",
    }
    assert (tmp_path / "outside.png").exists() and (tmp_path / "linked" / "own.png").exists()


def test_a_run_that_reads_no_image_keeps_earlier_masks(case, tmp_path):
    dataset, truth, _ = case
    model, log = Guess(len(dataset.class_names)), RunLog(None, active=False)
    save_predictions(model, dataset, INFERENCE, str(tmp_path / "masks"), log)
    earlier = {path.name: path.read_bytes() for path in (tmp_path / "masks").iterdir()}
    for image in truth.parent.glob("*mages/*.png"):
        image.write_bytes(b"broken")
    with pytest.raises(ValueError, match="c.png"):
        save_predictions(model, dataset, INFERENCE, str(tmp_path / "masks"), log)
    assert {path.name: path.read_bytes() for path in (tmp_path / "masks").iterdir()} == earlier and len(
        earlier
    ) == 3


class Named:
    """A dataset whose images have other names."""

    def __init__(self, dataset, prefix):
        self._dataset, self._prefix = dataset, prefix

    def __getattr__(self, key):
        return getattr(self._dataset, key)

    def __len__(self):
        return len(self._dataset)

    def name(self, index):
        return self._prefix + self._dataset.name(index)


def test_val_writes_on_demand(make_config):
    from jseg.runner import Runner

    cfg = make_config(max_iters=1)
    Runner(cfg).train()
    assert not (Path(cfg.work_dir) / "per_image.jsonl").exists()
    Runner(cfg).val(save_masks=True, per_image=True)
    assert len(read_lines(Path(cfg.work_dir) / "per_image.jsonl")) == 3
    assert len(list((Path(cfg.work_dir) / "val_predictions").glob("*.png"))) == 3


@pytest.fixture
def photographs(tmp_path):
    """A row, a column, a damaged file and an ordinary image, to be segmented only."""
    root = tmp_path / "photographs"
    (root / "test").mkdir(parents=True)
    (root / "classes.txt").write_text("w\nx\n")
    for name, size in (("a_row", (3000, 1)), ("c_column", (1, 400)), ("d_plain", (30, 20))):
        Image.new("RGB", size, (200, 0, 0)).save(root / f"test/{name}.png")
    (root / "test/b_damaged.png").write_bytes((root / "test/d_plain.png").read_bytes()[:60])
    return root


def test_thin_images_are_segmented_and_bad_ones_named_at_the_end(photographs, tmp_path, capsys):
    """A row of 3000 pixels used to end the run with "out of memory", without its name, and later images were
    skipped."""
    dataset = FolderDataset(
        str(photographs), image_dir="test", mask_dir=None, test_mode=True, pipeline=dict(short_side=64)
    )
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=r"\b1 of 4\b.*b_damaged"):
        save_predictions(Guess(2), dataset, INFERENCE, out, RunLog(None))
    sizes = {path.stem: Image.open(path).size for path in out.glob("*.png")}
    assert sizes == {"a_row": (3000, 1), "c_column": (1, 400), "d_plain": (30, 20)}
    said = capsys.readouterr().out
    assert all(name in said for name in ("a_row of 3000x1", "c_column of 1x400", "b_damaged.png"))
    assert "d_plain" not in said


def test_an_image_too_large_for_the_memory_is_named(photographs, tmp_path):
    class Exhausted(Guess):
        def predict(self, image):
            if image.shape[3] > 900:
                raise MemoryError
            return super().predict(image)

    (photographs / "test/b_damaged.png").unlink()
    dataset = FolderDataset(
        str(photographs), image_dir="test", mask_dir=None, test_mode=True, pipeline=dict(short_side=64)
    )
    with pytest.raises(ValueError, match=r"\b1 of 3\b.*a_row"):
        save_predictions(Exhausted(2), dataset, INFERENCE, tmp_path / "out", RunLog(None))
    assert len(list((tmp_path / "out").glob("*.png"))) == 2
    with pytest.raises(OSError, match="a_row of 3000x1.*out of memory"):
        evaluate(Exhausted(2), dataset, INFERENCE, RunLog(None))


def test_masks_hold_the_published_values_on_demand(tmp_path):
    """VOC counts from 1, COCO-Stuff has gaps, and a class list of words counts from 0."""
    for classes, zero, wanted in (
        ("voc2012", True, list(range(1, 21))),
        ("coco_stuff164k", False, list(raw_values("coco_stuff164k"))),
        ("context59", True, list(range(1, 60))),
        (("a", "b"), False, [0, 1]),
    ):
        data = SegmentationDataset([], classes, reduce_zero_label=zero, test_mode=True)
        assert data.published_values().tolist() == wanted
    names = load_class_list("coco_stuff164k").names
    data = SegmentationDataset([Record("x", tmp_path, None)], "coco_stuff164k", test_mode=True)
    outputs = ImageOutputs(data, masks=tmp_path / "out", published_values=True)
    outputs.take(0, np.array([[0, len(names) - 1]], np.uint8))
    with Image.open(tmp_path / "out" / "x.png") as mask:
        assert np.asarray(mask).tolist() == [[0, 181]]
        assert mask.getpalette()[3 * 181 : 3 * 182] == data.palette[-1].tolist()


def test_outlines_beside_the_masks(case, tmp_path):
    """Labelme and COCO files of this run take the place of an earlier run's; masks to correct by hand."""
    dataset, _, _ = case
    for number in range(2):
        outputs = ImageOutputs(dataset, masks=tmp_path / "out", outlines=("labelme", "coco"))
        for index in range(len(dataset)):
            mask = np.full(SIZE, 3, np.uint8)
            mask[: 10 + number] = 1
            outputs.take(index, mask)
        outputs.close()
    content = json.loads((tmp_path / "out" / "coco.json").read_text())
    assert [image["file_name"] for image in content["images"]] == [path.name for path in dataset.files()]
    assert [row["bbox"] for row in content["annotations"][:2]] == [[0, 0, 40, 11], [0, 11, 40, 19]]
    assert len(content["categories"]) == len(dataset.class_names)
    labelled = json.loads((tmp_path / "out" / "labelme" / f"{dataset.name(0)}.json").read_text())
    assert (tmp_path / "out" / "labelme" / labelled["imagePath"]).resolve() == dataset.files()[0].resolve()
    ImageOutputs(dataset, masks=tmp_path / "out").close()
    assert [path.name for path in (tmp_path / "out").rglob("*.json")] == []
