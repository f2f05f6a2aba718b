"""The Segmenter: the same masks as the runner, any words, all forms of images, and errors."""

import shutil

import numpy as np
import pytest
from compiled import MAPS, loaded
from PIL import Image

from jseg import Segmenter
from jseg.checkpoints import load_arrays, save_arrays
from jseg.config import Config
from jseg.datasets.classes import load_class_list
from jseg.inference.recipe import TestRecipe
from jseg.runner import Experiment
from jseg.runner.prediction import predict_mask

CLASSES = load_class_list("zeroshapes")


@pytest.fixture(scope="module")
def checkpoint(trained_run):
    return trained_run / "checkpoints" / "iter_2.safetensors"


@pytest.fixture(scope="module")
def segmenter(checkpoint):
    return Segmenter.from_checkpoint(checkpoint)


@pytest.fixture(scope="module")
def images(zeroshapes_root):
    return sorted((zeroshapes_root / "JPEGImages").glob("val_*.png"))


def test_masks_are_those_of_the_runner(segmenter, checkpoint, trained_run, images):
    experiment = Experiment(Config.load(trained_run / "config.py", [f"work_dir={trained_run}"]))
    model, _ = experiment.trained_model(str(checkpoint))
    model.eval()
    data = experiment.dataset("val")
    for index, path in enumerate(images):
        wanted = predict_mask(model, data.sample(index), experiment.cfg.inference)
        found = segmenter.segment(path, CLASSES.names)
        np.testing.assert_array_equal(found.mask, wanted)
        assert found.unseen == CLASSES.unseen and found.names == CLASSES.names
        assert found.areas.sum() == wanted.size and set(found.seconds) == {"read", "encode", "decode"}


def test_one_in_one_out_and_a_list_in_order(segmenter, images):
    words = ["red circle", "blue ring"]
    single = segmenter.segment(images[0], words)
    forms = [str(images[0]), Image.open(images[1]), np.asarray(Image.open(images[0]))]
    several = segmenter.segment(forms, words)
    assert [result.path is None for result in several] == [False, True, True]
    np.testing.assert_array_equal(several[0].mask, single.mask)
    np.testing.assert_array_equal(several[2].mask, single.mask)
    streamed = segmenter.stream(images, words, seen_bias=0.0)
    assert [result.path for result in streamed] == images


def test_a_view_answers_other_words_as_a_new_call_would(segmenter, images, monkeypatch):
    view = segmenter.encode(images[0])
    monkeypatch.setattr(segmenter.model, "encode", None)  # the encoder is not run again
    first, second = view.segment("red circle, blue ring"), view.segment("blue ring, red circle, green cross")
    monkeypatch.undo()
    np.testing.assert_array_equal(second.mask, segmenter.segment(images[0], list(second.names)).mask)
    np.testing.assert_array_equal(first.mask, segmenter.segment(images[0], list(first.names)).mask)
    assert view.features.shape == (8, 8, 64)
    np.testing.assert_allclose(np.linalg.norm(view.features, axis=-1), 1, atol=1e-4)
    assert segmenter.text_features("red circle, blue ring").shape == (2, 64)


@pytest.mark.skipif(not MAPS.exists(), reason="needs Linux's list of loaded files")
def test_images_of_any_size_use_the_same_operators(segmenter):
    """Jittor compiles an operator for each kind of graph; a size that changes the graph costs seconds."""
    generator = np.random.default_rng()  # other sizes at each run, so that nothing has compiled them before

    def segment(height: int, width: int) -> None:
        image = generator.integers(0, 256, (height, width, 3), np.uint8)
        segmenter.segment(image, ["red circle", "blue ring"])

    for height, width in ((64, 64), (60, 150), (150, 60)):
        segment(height, width)
    before = loaded()
    for height, width in generator.integers(40, 160, (20, 2)):
        segment(height, width)
    assert len(loaded() - before) <= 2


def test_synonyms_background_and_threshold(segmenter, images):
    view = segmenter.encode(images[0])
    joined = view.segment(
        {"thing": ["red circle", "blue ring"], "green cross": ["green cross"]}, seen_bias=0.0
    )
    plain = view.segment("red circle, blue ring, green cross", seen_bias=0.0)
    np.testing.assert_array_equal(joined.mask == 1, plain.mask == 2)
    ground = view.segment("green cross", background=["red circle", "blue ring"], seen_bias=0.0)
    np.testing.assert_array_equal(ground.mask == 0, plain.mask == 2)
    assert ground.names == ("green cross",) and ground.nothing == 255
    scores = view.segment("red circle, blue ring, green cross", seen_bias=0.0, keep_scores=True).scores
    level = float(np.quantile(scores.max(0), 0.5))
    cut = view.segment("red circle, blue ring, green cross", seen_bias=0.0, threshold=level)
    assert scores.shape == (3, 64, 64) and 0 < (cut.mask == 255).sum() < cut.mask.size
    assert (cut.mask[cut.mask != 255] == plain.mask[cut.mask != 255]).all()


def test_trained_words_are_lowered_and_new_ones_are_not(segmenter, images):
    view = segmenter.encode(images[0])
    seen = next(name for name in CLASSES.names if name in segmenter.seen)
    words = [seen, CLASSES.names[CLASSES.unseen[0]], "red thing"]
    plain, lowered = (view.segment(words, seen_bias=bias, keep_scores=True).scores for bias in (0.0, 0.25))
    np.testing.assert_allclose((plain - lowered).mean((1, 2)), [0.25, 0, 0], atol=1e-6)
    default = view.segment(words, keep_scores=True).scores
    np.testing.assert_allclose((plain - default).mean((1, 2)), [0.05, 0, 0], atol=1e-6)  # of the config
    assert view.segment(words).unseen == (1, 2)


def test_number_of_regions(segmenter, images):
    assert segmenter.segment(images[0], CLASSES.names).regions.shape == (20, 2, 2)
    found = segmenter.encode(images[0], num_regions=16).segment("red circle, blue ring")
    assert found.regions.shape == (2, 4, 4)
    np.testing.assert_allclose(found.regions.sum(0), 1, atol=1e-5)
    with pytest.raises(ValueError, match=r"num_regions.*\b5\b"):
        segmenter.encode(images[0], num_regions=5)


def test_large_images_are_cut_into_windows(segmenter, images):
    """A wide image of three drawings is covered by windows of 64 px. Batching them changes nothing."""
    wide = np.concatenate([np.asarray(Image.open(path)) for path in images[:3]], axis=1)
    recipe = TestRecipe(
        segmenter.recipe.transforms,
        {"mode": "slide", "crop_size": 64, "stride": 64, "scales": (1.0,), "flip": False},
        8,
    )
    masks = []
    for size in (1, 2):
        other = Segmenter.__new__(Segmenter)
        other.__dict__.update(segmenter.__dict__, recipe=recipe, _batch_size=size)
        found = other.segment(wide, CLASSES.names)
        assert found.regions.shape == (20, 2, 6)  # 2 x 2 of each window, side by side
        masks.append(found.mask)
        with pytest.raises(ValueError, match=r"\b3 windows"):
            other.encode(wide).features  # noqa: B018
    np.testing.assert_array_equal(masks[0], masks[1])
    single = [segmenter.segment(path, CLASSES.names).mask for path in images[:3]]
    assert (masks[0] == np.concatenate(single, axis=1)).mean() > 0.999
    own = segmenter.segment(images[1], CLASSES.names).regions
    np.testing.assert_allclose(found.regions[:, :, 2:4], own, atol=1e-5)


def test_a_small_copy_of_the_image_is_answered_without_encoding_again(segmenter, images):
    large = np.asarray(Image.open(images[0]).resize((256, 192)))
    view = segmenter.encode(large)
    small = np.asarray(Image.fromarray(large).resize((64, 48)))
    found, whole = view.scaled_to(small).segment(CLASSES.names), view.segment(CLASSES.names)
    assert found.mask.shape == (48, 64) and found.image is small and view.grid == (8, 11)
    assert (found.mask == whole.mask[2::4, 2::4]).mean() > 0.97


def test_encoding_is_stopped_between_windows(segmenter, images):
    steps = []

    def stop():
        steps.append(1)
        raise InterruptedError

    with pytest.raises(InterruptedError):
        segmenter.encode(images[0], on_batch=stop)
    assert steps == [1]


@pytest.mark.parametrize(
    "words, options, named",
    [
        ("red " * 80, {}, r"too long.*\b\d+ tokens|'red red"),
        ("red circle", {"threshold": 2.0}, "threshold"),
        ("red circle", {"seen_bias": float("nan")}, "seen_bias"),
        ("red circle", {"background": "red circle"}, "'red circle'"),
    ],
)
def test_words_and_options_that_do_not_work_are_named(segmenter, images, words, options, named):
    with pytest.raises(ValueError, match=named):
        segmenter.segment(images[0], words, **options)


def test_a_checkpoint_without_its_clip_says_how_to_give_it(checkpoint, tmp_path):
    arrays, metadata = load_arrays(checkpoint)
    moved = {**metadata, "config": metadata["config"].replace("weights/zeroshapes_clip.npz", "gone/clip.npz")}
    save_arrays(tmp_path / "run.safetensors", arrays, moved)
    with pytest.raises(FileNotFoundError, match=r"gone/clip\.npz.*--clip"):
        Segmenter.from_checkpoint(tmp_path / "run.safetensors")
    with pytest.raises(FileNotFoundError, match=r"clip.*nowhere\.pt"):
        Segmenter.from_checkpoint(checkpoint, clip="nowhere.pt")
    with pytest.raises(FileNotFoundError, match="nowhere"):
        Segmenter.from_checkpoint("nowhere.safetensors")
    shutil.copy("weights/zeroshapes_clip.npz", tmp_path / "clip.npz")
    assert Segmenter.from_checkpoint(tmp_path / "run.safetensors", tmp_path / "clip.npz").class_names


def test_another_clip_is_refused(checkpoint, openai_archive):
    with pytest.raises(ValueError):
        Segmenter.from_checkpoint(checkpoint, clip=openai_archive)
