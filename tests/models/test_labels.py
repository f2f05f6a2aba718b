"""Labels of the three settings."""

import numpy as np
import pytest

from jseg.models.segmentors.labels import IGNORED, label_table, pseudo_label, split_classes
from jseg.runtime.backend import jt

SEEN, UNSEEN = np.array([0, 2, 3]), np.array([1, 4])


def test_split():
    seen, unseen = split_classes(5, [4, 1])
    assert seen.tolist() == [0, 2, 3] and unseen.tolist() == [1, 4]
    for bad in ([5], [-1], [1, 1], range(5)):
        with pytest.raises(ValueError, match="unseen"):
            split_classes(5, bad)


@pytest.mark.parametrize(
    "setting, expected",
    [
        ("inductive", [0, IGNORED, 1, 2, IGNORED]),
        ("full", [0, 1, 2, 3, 4]),
        ("transductive", [0, 5, 2, 3, 5]),
    ],
)
def test_tables(setting, expected):
    table = label_table(setting, SEEN, UNSEEN, 255)
    assert table[:5].tolist() == expected
    assert (table[5:] == IGNORED).all()


def test_ignore_index_must_not_be_a_class():
    for bad in (3, 256, -1):
        with pytest.raises(ValueError, match="ignore_index"):
            label_table("full", SEEN, UNSEEN, bad)


def test_pseudo_labels_are_the_best_unseen_class():
    """Seen class 0 scores highest everywhere and must not be
    chosen; ignored and seen pixels keep their label."""
    logits = np.zeros((1, 5, 1, 4), np.float32)
    logits[0, 0] = 9
    logits[0, 1, 0, 0] = 1
    logits[0, 4, 0, 1] = 1
    label = np.array([[[5, 5, 2, IGNORED]]], np.int32)
    result = pseudo_label(jt.array(logits), jt.array(label), jt.array(UNSEEN.astype(np.int32)))
    assert result.numpy().tolist() == [[[1, 4, 2, IGNORED]]]


def test_saturated_probabilities_tie_and_the_first_unseen_class_wins():
    """As in the releases. The logits still tell which is larger."""
    logits = np.zeros((1, 5, 1, 2), np.float32)
    logits[0, 1, 0], logits[0, 4, 0] = (40, 3), (50, 4)
    arguments = jt.array(logits), jt.array(np.full((1, 1, 2), 5, np.int32)), jt.array(UNSEEN.astype(np.int32))
    assert pseudo_label(*arguments).numpy().tolist() == [[[1, 4]]]
    assert pseudo_label(*arguments, "logits").numpy().tolist() == [[[4, 4]]]
