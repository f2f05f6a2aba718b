"""Losses against plain float64 numpy."""

import numpy as np
import pytest

from jseg.models.losses import NELLoss, pixel_accuracy, recovery_loss
from jseg.runtime.backend import jt

FOCAL, DICE = 100.0, 3.0


def _reference(logits, label):
    """Focal and dice written out per image and class, with probabilities instead of softplus."""
    images, classes = logits.shape[:2]
    focal, dice, pairs = 0.0, 0.0, 0
    for i in range(images):
        for c in range(classes):
            t = (label[i] == c).astype(np.float64)
            p = 1 / (1 + np.exp(-logits[i, c].astype(np.float64)))
            truth = np.where(t == 1, p, 1 - p)
            alpha = np.where(t == 1, 0.25, 0.75)
            focal += (-alpha * (1 - truth) ** 2 * np.log(truth)).mean()
            if t.any():
                pairs += 1
                dice += 1 - (2 * (p * t).sum() + 1) / (p.sum() + t.sum() + 1)
    return FOCAL * focal / max(pairs, 1), DICE * dice / max(pairs, 1)


def _batch(seed=0):
    random = np.random.default_rng(seed)
    logits = random.normal(size=(2, 3, 5, 4)).astype(np.float32) * 3
    label = random.integers(0, 2, (2, 5, 4)).astype(np.int32)  # class 2 is absent
    label[:, 0] = -1
    label[1][label[1] == 1] = 0  # class 1 is absent from the second image
    return logits, label


def _terms(logits, label):
    terms = NELLoss(FOCAL, DICE)(jt.array(logits), jt.array(label))
    return float(terms["loss_mask"].item()), float(terms["loss_dice"].item())


def test_nel_matches_float64():
    logits, label = _batch()
    assert _terms(logits, label) == pytest.approx(_reference(logits, label), rel=2e-5)


def test_image_of_ignored_pixels_only():
    """No present pair: the normaliser is 1, dice is 0, focal counts
    every pixel as a negative; gradients are finite."""
    logits, label = _batch()
    label[:] = -1
    assert _terms(logits, label) == pytest.approx(_reference(logits, label), rel=2e-5)
    x = jt.array(logits)
    terms = NELLoss(FOCAL, DICE)(x, jt.array(label))
    gradient = jt.grad(terms["loss_mask"] + terms["loss_dice"], x).numpy()
    assert terms["loss_dice"].item() == 0 and np.isfinite(gradient).all() and np.abs(gradient).max() > 0


def test_large_logits_neither_overflow_nor_vanish():
    """σ(±200) is 0 or 1 in float32; -log of it must still be 200, not infinite."""
    logits = np.full((1, 1, 1, 2), -200.0, np.float32)
    logits[..., 1] = 200.0
    label = np.array([[[0, -1]]], np.int32)
    focal, _ = _terms(logits, label)
    assert focal == pytest.approx(FOCAL * (0.25 * 200 + 0.75 * 200) / 2, rel=1e-5)


def test_accuracy_counts_labelled_pixels():
    logits = np.zeros((1, 2, 1, 4), np.float32)
    logits[0, 1, 0, :2] = 1  # predictions 1 1 0 0
    logits[0, 0, 0, 2:] = 1
    label = jt.array(np.array([[[1, 0, 0, -1]]], np.int32))
    assert pixel_accuracy(jt.array(logits), label).item() == pytest.approx(200 / 3)
    assert pixel_accuracy(jt.array(logits), jt.array(np.full((1, 1, 4), -1, np.int32))).item() == 100


def test_recovery_losses_match_float64():
    random = np.random.default_rng(1)
    r, t = (random.normal(size=(2, 3, 6)).astype(np.float32) for _ in range(2))
    r64, t64 = r.astype(np.float64), t.astype(np.float64)

    def softmax(x):
        return np.exp(x) / np.exp(x).sum(-1, keepdims=True)

    p, q = softmax(t64 / 2), softmax(r64 / 2)
    expected = {
        "l1": np.abs(r64 - t64).mean(),
        "l2": ((r64 - t64) ** 2).mean(),
        "kd": 4 * (p * np.log(p / q)).sum(-1).mean(),
    }
    for kind, value in expected.items():
        assert recovery_loss(jt.array(r), jt.array(t), kind, 2.0).item() == pytest.approx(value, rel=1e-5), (
            kind
        )


@pytest.mark.parametrize("kind", ["l1", "l2", "kd"])
def test_recovery_target_gets_no_gradient(kind):
    random = np.random.default_rng(2)
    r, t = (jt.array(random.normal(size=(2, 3, 6)).astype(np.float32)) for _ in range(2))
    on_recovered, on_target = jt.grad(recovery_loss(r, t * 2, kind), [r, t])
    assert np.abs(on_recovered.numpy()).max() > 0 and np.abs(on_target.numpy()).max() == 0


def test_bad_recovery_options():
    x = jt.ones((1, 1, 2))
    with pytest.raises(ValueError, match="huber"):
        recovery_loss(x, x, "huber")
    with pytest.raises(ValueError, match="temperature"):
        recovery_loss(x, x, "kd", 0.0)
