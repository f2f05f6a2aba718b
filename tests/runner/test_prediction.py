"""Windows of several images in one batch: the same masks in the same order, and what fits into memory."""

import contextlib

import numpy as np
import pytest
from fatal_image import EndsItsProcess
from PIL import Image
from small_clip_rc import segmentor

from jseg.datasets import FolderDataset, save_mask
from jseg.models.segmentors.base import GridScores
from jseg.runner.evaluate import evaluate, save_predictions
from jseg.runner.log import RunLog
from jseg.runner.outputs import ImageOutputs
from jseg.runner.prediction import Predictor, predict_mask
from jseg.runtime.backend import jt

CLASSES, PATCH = 20, 16
WHOLE = dict(mode="whole", scales=(1.0,), flip=False)


def slide(crop, **options):
    return {**WHOLE, "mode": "slide", "crop_size": crop, "stride": crop * 3 // 4, **options}


class Colours:
    """Logits of a patch are the mean colour of its pixels; keeps the sizes of the batches that it is given.

    A batch of more than `most` windows does not fit into memory, nor does a window with a value above 99.
    """

    patch_size, num_regions, late_softmax = PATCH, 16, None

    def __init__(self, most=1000, num_regions=16):
        self.batches, self.most, self.num_regions = [], most, num_regions

    def predict_on_grid(self, image):
        self.batches.append(image.shape[0])
        pixels = image.numpy()
        if len(pixels) > self.most or pixels.max() > 99:
            raise RuntimeError("Unable to alloc memory for size: 123")
        batch, channels, height, width = pixels.shape
        tiles = pixels.reshape(batch, channels, height // PATCH, PATCH, width // PATCH, PATCH)
        return GridScores(jt.array(tiles.mean((3, 5))), jt.zeros((channels,)))


def sample_of(index, size, original=None):
    image = np.random.default_rng(index).normal(size=(3, *size)).astype(np.float32)
    return {"image": image, "original_size": original or size, "name": f"image_{index}"}


def predict(model, samples, inference, **options):
    predictor = Predictor(model, inference, CLASSES, RunLog(None, active=False), **options)
    return list(predictor.masks(enumerate(samples)))


@pytest.mark.parametrize(
    "inference, sizes, batches",
    [
        (slide(512), [(512, 512)] * 6, [4, 2]),
        (slide(512), [(512, 683)] * 5, [4, 4, 2]),  # two windows each
        (slide(512), [(512, 683), (512, 512), (512, 683), (512, 512)], [3, 3]),
        (slide(512), [(512, 512), (512, 2000), (512, 512)], [1, 4, 1, 1]),  # five windows by themselves
        (slide(640), [(640, 640)] * 3, [2, 1]),
        (slide(800), [(800, 800)] * 3, [1, 1, 1]),
        (slide(64), [(64, 64)] * 18, [12, 6]),
        (slide(64), [(48, 64), (20, 30), (64, 64)], [3]),  # filled up to a window
        (slide(64, flip=True), [(64, 64)] * 2, [1, 1, 1, 1]),
        (slide(64, scales=(1.0, 2.0)), [(64, 64)] * 2, [1, 4, 4, 1] * 2),
        (slide(64, scales=(0.5,)), [(64, 64)] * 3, [3]),
        (WHOLE, [(512, 672), (512, 672), (512, 512), (512, 512), (512, 512)], [2, 3]),
        (WHOLE, [(64, 64), (64, 80), (64, 80), (64, 64), (60, 50)], [1, 2, 2]),
    ],
)
def test_windows_that_are_computed_together(inference, sizes, batches):
    model, samples = Colours(), [sample_of(index, size) for index, size in enumerate(sizes)]
    found = predict(model, samples, inference)
    assert model.batches == batches
    assert [index for index, _, _ in found] == list(range(len(sizes)))


def test_many_regions_leave_fewer_small_windows_together():
    """256 px: 256 patches and 20 · M queries a window, instead of 1024 and as many queries at 512 px."""
    for num_regions, batches in ((4, [16, 2]), (16, [12, 6]), (256, [4, 4, 4, 4, 2])):
        model = Colours(num_regions=num_regions)
        predict(model, [sample_of(0, (256, 256))] * 18, slide(256))
        assert model.batches == batches


@pytest.mark.parametrize("inference", [slide(32), WHOLE, slide(32, flip=True)])
def test_masks_are_those_of_the_images_alone(inference):
    model = segmentor()
    model.eval()
    sizes = [(32, 32), (32, 32), (30, 41), (70, 64), (32, 32), (150, 150), (32, 32), (30, 41), (17, 8)]
    samples = [sample_of(index, size, (size[0] + 5, size[1] - 3)) for index, size in enumerate(sizes)]
    found = predict(model, samples, inference)
    assert [index for index, _, _ in found] == list(range(len(sizes)))
    seen = set()
    for (index, sample, mask), given in zip(found, samples):
        assert sample is given, index
        alone = predict_mask(model, given, inference)
        assert mask.shape == alone.shape == given["original_size"] and mask.dtype == np.uint8
        seen.update(np.unique(alone))
        assert (mask != alone).mean() < 1e-3, index  # products of other shapes may round in another way
    assert len(seen) > 1


@pytest.mark.parametrize("inference", [slide(64), WHOLE])
def test_equal_masks_where_products_are_equal(inference):
    sizes = [(64, 64), (64, 64), (64, 96), (64, 96), (96, 64), (64, 64)]
    samples = [sample_of(index, size, (40 + index, 50)) for index, size in enumerate(sizes)]
    together = predict(Colours(), samples, inference)
    for (_, _, mask), sample in zip(together, samples):
        np.testing.assert_array_equal(mask, predict_mask(Colours(), sample, inference))


def test_without_enough_memory_images_are_computed_one_by_one(capsys):
    model, samples = Colours(most=2), [sample_of(index, (64, 64)) for index in range(20)]
    predictor = Predictor(model, slide(64), CLASSES, RunLog(None))
    found = list(predictor.masks(enumerate(samples)))
    assert model.batches == [12] + [1] * 20
    assert [index for index, _, _ in found] == list(range(20))
    np.testing.assert_array_equal(found[7][2], predict_mask(Colours(), samples[7], slide(64)))
    assert capsys.readouterr().out.count("12 images together") == 1


def test_only_an_image_that_does_not_fit_by_itself_is_named():
    samples = [sample_of(index, (64, 64)) for index in range(5)]
    samples[3]["image"][0, 0, 0] = 100
    left_out = {}
    found = predict(Colours(), samples, slide(64), left_out=left_out)
    assert [index for index, _, _ in found] == [0, 1, 2, 4]
    assert list(left_out) == ["image_3"] and "image_3 of 64x64 pixels: " in left_out["image_3"]
    with pytest.raises(OSError, match=r"image_3 of 64x64 pixels: .*out of memory"):
        predict(Colours(), samples, slide(64))


def test_a_batch_is_launched_before_the_masks_before_it_are_handed_out(monkeypatch):
    """On a GPU, the caller scores masks while the next batch is computed."""
    events, fetch = [], jt.Var.numpy
    model, inference = segmentor(), {**slide(48), "stride": 16}
    model.eval()
    size = (112, 112)  # 25 windows, more than go together
    predict_mask(model, sample_of(0, size), inference)  # keeps positions
    launch = model.predict_on_grid
    monkeypatch.setattr(jt.Var, "numpy", lambda x: events.append("fetch") or fetch(x))
    monkeypatch.setattr(model, "predict_on_grid", lambda x: events.append("launch") or launch(x))

    def reading():
        for index in range(3):
            events.append(f"read {index}")
            yield index, sample_of(index, size)

    predictor = Predictor(model, inference, 5, RunLog(None, active=False))
    for index, _, _ in predictor.masks(reading()):
        events.append(f"score {index}")
    launched = ["launch"] * 7
    assert events == [
        *("read 0", *launched, "read 1"),
        *("fetch", *launched, "score 0", "read 2"),
        *("fetch", *launched, "score 1"),
        *("fetch", "score 2"),
    ]


@pytest.fixture
def folder(tmp_path):
    """Seven images of several sizes, with masks."""
    root, rng = tmp_path / "data", np.random.default_rng(0)
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True)
    (root / "classes.txt").write_text("w\nx\ny\n")
    for number, size in enumerate([(32, 32), (32, 32), (40, 32), (32, 60), (60, 70), (32, 32), (32, 32)]):
        image = rng.integers(0, 256, (*size, 3), np.uint8)
        Image.fromarray(image).save(root / f"images/{number}.png")
        save_mask(root / f"masks/{number}.png", rng.choice([0, 1, 2, 255], size), [])
    return root


def data(folder, kind=FolderDataset):
    return kind(str(folder), test_mode=True, pipeline=dict(short_side=48))


@pytest.mark.parametrize("inference", [slide(48), WHOLE])
def test_evaluation_with_workers_equals_that_without(folder, tmp_path, inference, capsys):
    dataset, found = data(folder), {}
    for num_workers in (0, 2):
        masks = tmp_path / f"masks{num_workers}"
        outputs = ImageOutputs(dataset, masks=masks)
        summary = evaluate(Colours(), dataset, inference, RunLog(None), outputs, num_workers)
        assert np.sum(summary["confusion"]) > 1000 and summary["mIoU"] > 0
        assert capsys.readouterr().out.count("evaluated 7/7 images") == 1
        found[num_workers] = (
            summary["confusion"],
            {path.name: path.read_bytes() for path in masks.glob("*.png")},
        )
        save_predictions(Colours(), dataset, inference, tmp_path / "out", RunLog(None), (), (), num_workers)
        assert {path.name: path.read_bytes() for path in (tmp_path / "out").glob("*.png")} == found[0][1]
    assert len(found[0][1]) == 7 and found[0] == found[2]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_unreadable_images_in_evaluation_and_test(folder, tmp_path, num_workers, running, capsys):
    for number in (1, 6):
        path = folder / f"images/{number}.png"
        path.write_bytes(path.read_bytes()[:60])
    dataset, log = data(folder), RunLog(None)
    with pytest.raises(ValueError, match=r"images/1\.png"):
        evaluate(Colours(), dataset, WHOLE, log, num_workers=num_workers)
    assert not running()
    capsys.readouterr()
    with pytest.raises(ValueError, match=r"\b2 of 7\b.*: 1, 6;.*1\.png"):
        save_predictions(Colours(), dataset, WHOLE, tmp_path / "out", log, num_workers=num_workers)
    assert {path.stem for path in (tmp_path / "out").glob("*.png")} == set("02345")
    assert capsys.readouterr().out.count("segmented 7/7 images") == 1 and not running()


def test_a_dead_worker_is_no_unreadable_image(folder, tmp_path, running):
    dataset = data(folder, EndsItsProcess)
    with pytest.raises(ChildProcessError, match=r"num_workers: .*signal 9 while preparing 2;"):
        save_predictions(Colours(), dataset, WHOLE, tmp_path / "out", RunLog(None), num_workers=2)
    assert not running()


def test_workers_end_when_the_evaluation_does(folder, running):
    """Also while the error, which knows all variables of the evaluation, is still at hand."""

    class Full(contextlib.nullcontext):
        def take(self, index, mask, matrix=None):
            assert len(running()) == 2
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="disk is full") as caught:
        evaluate(Colours(), data(folder), WHOLE, RunLog(None), Full(), num_workers=2)
    assert caught and not running()
