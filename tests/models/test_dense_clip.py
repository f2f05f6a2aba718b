"""Segmentation without training: parity, the segmentor, the Segmenter, and `--task val` without a
checkpoint."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jseg import Segmenter, parity
from jseg.config import Config, validate
from jseg.datasets.classes import load_class_list
from jseg.interpolation import cubic_matrix
from jseg.models.segmentors import DenseCLIP
from jseg.runner import REGISTRIES
from jseg.runner.prediction import predict_mask
from jseg.runtime.backend import jt

ROOT = Path(__file__).resolve().parents[2]
CLIP = str(ROOT / "weights" / "zeroshapes_clip.npz")


def test_features_of_every_last_block():
    computed, recorded = parity.run_case(ROOT / "tests" / "golden" / "dense_tiny")
    rows = parity.compare(computed, recorded)
    assert len(rows) == 20 and all(row.passed for row in rows), parity.format_rows(rows)


def test_cubic_weights():
    """Rows add up to 1; the same grid is left alone; halves by hand with a = -0.75."""
    for available, length in ((6, 8), (6, 5), (3, 9), (1, 4)):
        np.testing.assert_allclose(cubic_matrix(available, length).sum(1), 1, atol=1e-12)
    np.testing.assert_array_equal(cubic_matrix(5, 5), np.eye(5))
    np.testing.assert_allclose(cubic_matrix(8, 4)[1, 1:5], [-0.09375, 0.59375, 0.59375, -0.09375])


@pytest.fixture(scope="module")
def model():
    return DenseCLIP(["red circle", "blue ring"], (), CLIP, templates="single")


def test_it_predicts_and_has_nothing_to_train(model):
    image = jt.array(np.random.default_rng(0).standard_normal((2, 3, 64, 48)).astype(np.float32))
    logits, features = model.predict(image).numpy(), model.encode(image)
    assert logits.shape == (2, 2, 64, 48) and model.late_softmax == ((0, 1), None)
    scores = model.probabilities(features, jt.array(model._text.numpy()), (64, 48)).numpy()
    exponentials = np.exp(logits - logits.max(1, keepdims=True))
    np.testing.assert_allclose(scores, exponentials / exponentials.sum(1, keepdims=True), atol=1e-5)
    assert model.trainable_parameters() == {}
    with pytest.raises(ValueError, match="nothing to train"):
        model.loss(image, image)
    with pytest.raises(ValueError, match=r"a\.pth.*model\.clip"):
        model.load_arrays({}, "a.pth")


def test_phrases_and_background(zeroshapes_root):
    """A class of several phrases has the best of them; what no class reaches is background."""
    words = ["background", "red circle", "blue ring"]
    options = dict(phrases={"background": ["cross", "triangle"]}, background="background", threshold=0.5)
    model = DenseCLIP(words, (), CLIP, **options)
    assert model.late_softmax == ((0, 0, 1, 2), (0, 0.5))
    (path, *_) = sorted((zeroshapes_root / "JPEGImages").glob("val_*.png"))
    view = Segmenter.from_clip(CLIP).encode(path)
    sample = {"image": view._segmenter.recipe.prepare(view.image), "original_size": (64, 64)}
    mask = predict_mask(model, sample, {"mode": "whole", "scales": (1.0,), "flip": False})
    found = view.segment(
        {"x": ["cross", "triangle"], "red circle": ["red circle"], "blue ring": ["blue ring"]}
    )
    level = found.confidence.astype(np.float32)
    wanted = np.where(level < 0.5, 0, found.mask)
    sure = abs(level - 0.5) > 1e-3  # the confidence is kept in half precision, templates differ by rounding
    assert (found.mask != wanted).any() and (wanted != 0).any()
    np.testing.assert_array_equal(mask[sure], wanted[sure])


@pytest.mark.parametrize(
    "options, named",
    [
        (dict(phrases={"b": ["c"]}), "phrases.*'b'"),
        (dict(phrases={"a": "c"}), "phrases.*'a'"),
        (dict(background="b"), "background.*'b'"),
        (dict(threshold=0.5), "threshold"),
        (dict(background="a", threshold=2.0), "threshold.*2.0"),
        (dict(dense="clear"), "dense"),
        (dict(positions="cubic"), "positions"),
        (dict(logit_scale=0.0), "scale"),
    ],
)
def test_options_are_checked(options, named):
    with pytest.raises(ValueError, match=named):
        DenseCLIP(["a"], (), CLIP, templates="single", **options)


def test_from_clip_needs_one_file(zeroshapes_root):
    segmenter = Segmenter.from_clip(CLIP, dense="maskclip")
    (path, *_) = sorted((zeroshapes_root / "JPEGImages").glob("val_*.png"))
    result = segmenter.segment(path, "red circle, blue ring, green cross")
    assert result.mask.shape == (64, 64) and result.unseen == (0, 1, 2) and result.regions is None
    wide = np.zeros((64, 160, 3), np.uint8)
    assert segmenter.segment(wide, ["red circle", "blue ring"]).mask.shape == (64, 160)
    assert Segmenter.from_clip(CLIP, short_side=60).segment(path, "red circle").mask.shape == (64, 64)
    with pytest.raises(ValueError, match=r"short_side.*\b8\b"):
        Segmenter.from_clip(CLIP, short_side=7)


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "dense_clip").glob("*.py")), ids=lambda p: p.stem)
def test_every_config_names_what_there_is(path):
    validate(Config.load(path), REGISTRIES)


@pytest.mark.slow
def test_val_without_a_checkpoint(zeroshapes_root, tmp_path):
    command = [sys.executable, "-m", "jseg", "val", "--config", "configs/dense_clip/dense_zeroshapes.py"]
    options = ["--set", f"data_root={zeroshapes_root}", "visualize.num_images=0", f"work_dir={tmp_path}"]
    done = subprocess.run([*command, *options], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["checkpoint"].endswith("zeroshapes_clip.npz")
    assert len(metrics["per_class"]) == len(load_class_list("zeroshapes").names)
