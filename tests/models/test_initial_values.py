"""No random number is drawn for a loaded parameter, and the text tower is built only if it is needed."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from jseg.config import Config
from jseg.inference.loading import model_config
from jseg.inference.segmenter import Segmenter
from jseg.models.clip import StoredCLIP, load_clip
from jseg.models.initialization import normal, uniform
from jseg.models.layers import clip_parameters, filled_by_file, trunc_normal
from jseg.models.segmentors import MODELS

ROOT = Path(__file__).resolve().parents[2]
CLIP = ROOT / "weights" / "zeroshapes_clip.npz"


@pytest.fixture
def drawn(monkeypatch) -> list[tuple[int, ...]]:
    """Shapes of all values drawn by NumPy's global generator."""
    shapes: list[tuple[int, ...]] = []

    def noted(draw: Callable) -> Callable:
        def wrapper(*arguments):
            values = draw(*arguments)
            shapes.append(np.shape(values))
            return values

        return wrapper

    for name in ("standard_normal", "uniform", "normal", "randn", "rand", "random"):
        monkeypatch.setattr(np.random, name, noted(getattr(np.random, name)))
    return shapes


def test_a_loaded_clip_is_not_drawn(drawn) -> None:
    before = np.random.get_state()[1].copy()
    load_clip(CLIP)
    assert not drawn and np.array_equal(before, np.random.get_state()[1])


def test_a_new_model_on_a_clip_draws_what_it_trains(drawn) -> None:
    config = Config.load(ROOT / "configs" / "clip_rc" / "zeroshapes_demo.py")
    offered = {"class_names": ("red circle", "blue ring"), "unseen": (1,)}
    model = MODELS.build(model_config(config.model, config.inference), where="model", offered=offered)
    trained = {tuple(value.shape) for value in model.trainable_parameters().values()}
    redrawn = {shape for shape in drawn if len(shape) == 1}  # values outside two standard deviations
    assert drawn and set(drawn) - redrawn <= trained
    visual = StoredCLIP(CLIP).visual()
    loaded = dict(model.backbone.named_parameters())
    for name, value in visual.items():
        if name != "positional_embedding":  # resized to the crop
            np.testing.assert_array_equal(loaded[name].numpy(), np.asarray(value, np.float32), name)


def test_a_segmenter_draws_nothing_and_builds_no_text_tower_for_known_words(drawn, monkeypatch) -> None:
    checkpoint = ROOT / "weights" / "zeroshapes_clip_rc.safetensors"
    Segmenter.from_checkpoint(checkpoint).text_features(["red ring"])  # into the cache of words
    monkeypatch.setattr(StoredCLIP, "text_tower", property(lambda self: pytest.fail("the tower was built")))
    Segmenter.from_checkpoint(checkpoint).text_features(["red ring"])
    assert not drawn


def test_what_no_file_fills_is_drawn() -> None:
    with filled_by_file("clip"):
        with clip_parameters():
            assert not trunc_normal((3, 4), 1.0).numpy().any() and not uniform((3, 4), 1.0).numpy().any()
            assert not normal((3, 4), 1.0).numpy().any()
        assert trunc_normal((3, 4), 1.0).numpy().all()
        with filled_by_file():
            assert not trunc_normal((3, 4), 1.0).numpy().any()
    with clip_parameters():
        assert uniform((3, 4), 1.0).numpy().all()
