"""What depends on the model alone is computed once, gives the same, and follows the parameters."""

from collections.abc import Callable

import numpy as np
import pytest
from small_clip_rc import JOINT, batch, embeddings, segmentor

from jseg.models.remembered import Remembered
from jseg.models.segmentors import CLIPRC
from jseg.ops import set_value
from jseg.optim import AdamW
from jseg.runtime.backend import jt


def scores(model: CLIPRC, image: jt.Var) -> np.ndarray:
    """Logits where nothing is kept: gradients are on."""
    features = model.backbone(image)
    return model.decode_head(features, model._text).logits.numpy()


def kept_scores(model: CLIPRC, image: jt.Var) -> np.ndarray:
    with jt.no_grad():
        return scores(model, image)


def projected_rows(model: CLIPRC, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of rows of each projection of the encoder's attention from now on."""
    rows: list[int] = []
    for block in model.backbone.transformer.resblocks:
        project = block.attn.project

        def noted(x: jt.Var, project: Callable[[jt.Var], jt.Var] = project) -> jt.Var:
            rows.append(x.shape[1])
            return project(x)

        monkeypatch.setattr(block.attn, "project", noted)
    return rows


@pytest.mark.parametrize(
    "options",
    [{}, dict(num_regions=0, ram_inputs=()), dict(num_regions=1), dict(train_regions=True)],
    ids=["4 regions", "none", "1 region", "trained"],
)
def test_the_same_scores(options: dict) -> None:
    model = segmentor(**options)
    for size in ((32, 32), (24, 40)):
        image, _ = batch(*size)
        wanted = scores(model, image)
        for _ in range(2):
            assert np.allclose(kept_scores(model, image), wanted, atol=2e-5, rtol=1e-5)


def test_rows_of_prompts_are_projected_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """16 patches, 3 prompts, 4 regions. With the prompts of the first layer come [CLS] and regions."""
    model, (image, _) = segmentor(), batch()
    rows = projected_rows(model, monkeypatch)
    kept_scores(model, image)
    assert sorted(rows) == sorted([1 + 3 + 4, 16, 3, 1 + 16 + 4])
    rows.clear()
    kept_scores(model, image)
    assert rows == [16, 1 + 16 + 4]


def _step(model: CLIPRC) -> None:
    image, label = batch()
    optimizer = AdamW(model.trainable_parameters(), lr=0.05)
    optimizer.step(model.loss(image, label)["total"], lambda rate: rate)


def _load(model: CLIPRC) -> None:
    other = segmentor()
    random = np.random.default_rng(0)
    arrays = {name: random.normal(size=p.shape).astype(np.float32) for name, p in other.state_dict().items()}
    model.load_arrays(arrays)


def _replace_first_norm(model: CLIPRC) -> None:
    set_value(model.backbone.transformer.resblocks[1].ln_1.weight, np.full(32, 2.0))


@pytest.mark.parametrize("change", [_step, _load, _replace_first_norm])
def test_follows_the_parameters(change: Callable[[CLIPRC], None]) -> None:
    """Twice, since a value may return to where an earlier one was."""
    model, (image, _) = segmentor(), batch()
    for _ in range(2):
        before = kept_scores(model, image)
        change(model)
        after = kept_scores(model, image)
        assert np.allclose(after, scores(model, image), atol=2e-5, rtol=1e-5)
        if change is _step:
            assert np.abs(after - before).max() > 1e-3


def test_follows_the_words_and_the_number_of_regions() -> None:
    model, (image, _) = segmentor(), batch()
    kept_scores(model, image)
    model._text = jt.array(embeddings()[::-1].astype(np.float32))
    assert np.allclose(kept_scores(model, image), scores(model, image), atol=2e-5, rtol=1e-5)
    for regions in (16, 1, 4):
        model.backbone.num_regions = regions
        assert np.allclose(kept_scores(model, image), scores(model, image), atol=2e-5, rtol=1e-5)


def test_follows_the_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """A CPU rounds the operands of products to bfloat16: a value of float32 must not be used there."""
    model, (image, _) = segmentor(), batch()
    exact = kept_scores(model, image)
    monkeypatch.setenv("JSEG_PRECISION", "bfloat16")
    rounded = kept_scores(model, image)
    assert np.abs(rounded - exact).max() > 1e-4
    assert np.array_equal(rounded, kept_scores(segmentor(), image))
    monkeypatch.delenv("JSEG_PRECISION")
    assert np.array_equal(kept_scores(model, image), exact)


def test_nothing_is_kept_where_gradients_are_computed() -> None:
    remembered, source = Remembered(), jt.ones(3)
    made = []

    def make() -> jt.Var:
        made.append(1)
        return source * 2

    remembered("key", [source], make)
    remembered("key", [source], make)
    assert len(made) == 2
    with jt.no_grad():
        for _ in range(3):
            assert remembered("key", [source], make).numpy().tolist() == [2, 2, 2]
    assert len(made) == 3
    source.update(jt.zeros(3))
    with jt.no_grad():
        assert remembered("key", [source], make).numpy().tolist() == [0, 0, 0]


def test_training_keeps_its_gradients() -> None:
    """Also after an evaluation, whose values have none."""
    model, (image, label) = segmentor(), batch()
    names = ["backbone.prompt_embeddings", "decode_head.q_proj.weight"]

    def gradients() -> list[np.ndarray]:
        parameters = model.trainable_parameters()
        total = model.loss(image, label)["total"]
        return [g.numpy() for g in jt.grad(total, [parameters[name] for name in names])]

    before = gradients()
    kept_scores(model, image)
    for old, new in zip(before, gradients()):
        assert np.array_equal(old, new) and np.abs(new).max() > 0
    assert before[1].shape == (JOINT, 2 * JOINT)
