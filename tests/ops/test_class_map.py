"""Class maps against full-size score maps in float64."""

import numpy as np
import pytest
from map_references import assert_best, mixed_copies, random_copy

from jseg.ops import GridCopy, class_map
from jseg.ops.class_map import reference
from jseg.runtime.backend import jt


def test_overlapping_windows_copies_and_batches(either_path: str) -> None:
    """Several tiles; a window that reaches beyond the copy; a mirrored and larger copy; windows with parts of
    patches; two images."""
    rng = np.random.default_rng(0)
    bias = np.array([0.1, 0, 0.1, 0, 0], np.float32)
    copies = mixed_copies(rng)
    assert_best(copies, (37, 71), bias)


def test_strips_of_the_reference_equal_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JSEG_FUSED", "0")
    monkeypatch.setattr(reference, "_STRIP_VALUES", 1000)
    rng = np.random.default_rng(0)
    copies = [random_copy(rng, 2, 5, (7, 9), (50, 70), (56, 72), [(0, 0)], mirrored=True)]
    assert_best(copies, (37, 71), np.zeros(5, np.float32))


def test_a_copy_that_is_shrunk(either_path: str) -> None:
    """A pixel of the result then lies further from the next than two vectors reach."""
    rng = np.random.default_rng(1)
    assert_best(
        [random_copy(rng, 1, 3, (6, 90), (12, 180), (12, 180), [(0, 0)])], (5, 7), np.zeros(3, np.float32)
    )


def test_many_classes_of_which_few_can_win() -> None:
    """Smooth maps far apart: classes are left out tile by tile, and the result is that of all classes."""
    rng = np.random.default_rng(2)
    copy = random_copy(rng, 1, 40, (16, 16), (256, 256), (256, 256), [(0, 0)], scale=0.5)
    peaks = np.zeros((40, 16, 16), np.float32)
    for index in range(40):
        peaks[index, index % 5 * 3 : index % 5 * 3 + 4, index // 5 * 2 : index // 5 * 2 + 3] = 8
    copy = copy._replace(logits=copy.logits + jt.array(peaks - 5))
    assert_best([copy], (200, 200), np.linspace(0, 0.2, 40).astype(np.float32))


def test_equal_scores_and_large_logits(either_path: str) -> None:
    """The first of equal classes wins. Above 17 the sigmoid is 1; `as_logits` still tells classes apart."""
    logits = np.zeros((1, 1, 3, 2, 2), np.float32)
    logits[0, 0, :, :, 0] = np.array([30, 20, 30])[:, None]
    logits[0, 0, :, :, 1] = np.array([20, 40, 40])[:, None]
    copies = [GridCopy(jt.array(logits), (2, 2), (2, 2), [(0, 0)])]
    assert class_map(copies, (2, 2)).mask.numpy().tolist() == [[[0, 0], [0, 0]]]
    assert class_map(copies, (2, 2), as_logits=True).mask.numpy().tolist() == [[[0, 1], [0, 1]]]


def test_wrong_inputs_are_named() -> None:
    copy = GridCopy(jt.zeros((1, 1, 3, 2, 2)), (8, 8), (4, 8), [(0, 0)])
    with pytest.raises(ValueError, match=r"leave gaps in \(8, 8\)"):
        class_map([copy], (4, 4))
    with pytest.raises(ValueError, match=r"cover \(4, 7\) pixels of a window of \(4, 8\)"):
        class_map([copy._replace(covered=(4, 7))], (4, 4))
    with pytest.raises(ValueError, match=r"\[2\]"):
        class_map([copy], (4, 4), jt.zeros((2,)))
