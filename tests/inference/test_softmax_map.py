"""The softmax after the average over windows, against its formula in float64."""

import numpy as np
import pytest
from bilinear import plain_bilinear

from jseg.inference import softmax_map as module
from jseg.inference.softmax_map import softmax_map, softmax_scores
from jseg.inference.windows import Pass

OWNERS = (0, 0, 1, 2, 2, 2)


@pytest.mark.parametrize("values", [1, 10**6])
def test_softmax_of_the_average_then_the_best_phrase(monkeypatch, values):
    monkeypatch.setattr(module, "_STRIP_VALUES", values)
    rng = np.random.default_rng(0)
    passes = [Pass(3 * rng.standard_normal((6, *size)).astype(np.float32)) for size in ((4, 5), (3, 3))]
    passes[1] = passes[1]._replace(mirrored=True)
    wide = [plain_bilinear(maps.transpose(1, 2, 0), (9, 8)).transpose(2, 0, 1) for maps, _ in passes]
    logits = np.exp((wide[0] + wide[1][..., ::-1]) / 2)
    share = logits / logits.sum(0)
    wanted = np.stack([share[:2].max(0), share[2], share[3:].max(0)])
    mask, confidence = softmax_map(passes, (9, 8), OWNERS)
    np.testing.assert_array_equal(mask, wanted.argmax(0))
    np.testing.assert_allclose(confidence, wanted.max(0), rtol=1e-5)
    np.testing.assert_allclose(softmax_scores(passes, (9, 8), OWNERS), wanted, rtol=1e-5, atol=1e-7)
    level = float(np.median(wanted.max(0)))
    cut = softmax_map(passes, (9, 8), OWNERS, background=(1, level)).mask
    np.testing.assert_array_equal(cut, np.where(wanted.max(0) < level, 1, wanted.argmax(0)))
    assert 0 < (cut != mask).sum() < cut.size


def test_no_overflow():
    maps = np.array([[[1000.0]], [[-1000.0]]], np.float32)
    assert softmax_map([Pass(maps)], (1, 1), (0, 1)).confidence == 1
