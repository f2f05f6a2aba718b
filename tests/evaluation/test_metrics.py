"""Confusion matrix and metrics against cases worked by hand."""

import json
import math

import numpy as np
import pytest

from jseg.evaluation import ConfusionMatrix, format_table, json_ready, summarise

# A 5x5 image, 3 classes, one ignored pixel (255).
LABEL = np.array([[0, 0, 0, 0, 0], [0, 0, 0, 1, 1], [1, 1, 1, 1, 1], [1, 2, 2, 2, 2], [2, 2, 2, 2, 255]])
PREDICTION = np.array([[0, 0, 0, 0, 0], [0, 1, 1, 1, 1], [1, 1, 1, 1, 1], [2, 2, 2, 2, 0], [0, 0, 0, 0, 1]])
# label 0: 8 pixels = 6 as 0, 2 as 1.  label 1: 8 = 7 as 1, 1 as 2.  label 2: 8 = 3 as 2, 5 as 0.
MATRIX = np.array([[6, 2, 0], [0, 7, 1], [5, 0, 3]])
# IoU: 6/(8+11-6) = 6/13;  7/(8+9-7) = 7/10;  3/(8+4-3) = 3/9.  pAcc = 16/24.  mAcc = mean(6, 7, 3)/8 = 2/3.


def test_matrix_of_the_worked_case():
    confusion = ConfusionMatrix(3)
    confusion.update(PREDICTION, LABEL)
    assert confusion.matrix.dtype == np.int64
    np.testing.assert_array_equal(confusion.matrix, MATRIX)


def test_summary_of_the_worked_case():
    summary = summarise(MATRIX, ("a", "b", "c"), (2,))
    seen, unseen = 50 * (6 / 13 + 7 / 10), 100 / 3
    assert summary["pAcc"] == pytest.approx(100 * 16 / 24)
    assert summary["mAcc"] == pytest.approx(100 * 2 / 3)
    assert summary["mIoU"] == pytest.approx(100 * (6 / 13 + 7 / 10 + 1 / 3) / 3)
    assert summary["mIoU(S)"] == pytest.approx(seen)
    assert summary["mIoU(U)"] == pytest.approx(unseen)
    assert summary["hIoU"] == pytest.approx(2 * seen * unseen / (seen + unseen))
    assert summary["per_class"][2] == {
        "name": "c",
        "unseen": True,
        "iou": pytest.approx(unseen),
        "acc": pytest.approx(37.5),
        "pixels": 8,
    }


def test_rows_streamed_one_by_one_and_merged_give_the_same_matrix():
    first, second = ConfusionMatrix(3), ConfusionMatrix(3)
    for row in range(5):
        (first if row % 2 else second).update(PREDICTION[row].astype(np.uint8), LABEL[row].astype(np.uint8))
    first.merge(second.matrix)
    np.testing.assert_array_equal(first.matrix, MATRIX)


def test_a_class_that_occurs_nowhere_is_left_out_but_a_false_one_counts_as_zero():
    matrix = np.zeros((4, 4), int)
    matrix[0, 0], matrix[0, 2] = 3, 1  # class 2 is only predicted, classes 1 and 3 do not occur
    summary = summarise(matrix, "abcd", (2, 3))
    assert [row["iou"] for row in summary["per_class"]][:3:2] == [75.0, 0.0]
    assert math.isnan(summary["per_class"][1]["iou"]) and math.isnan(summary["per_class"][2]["acc"])
    assert [summary[key] for key in ("mIoU", "mIoU(S)", "mIoU(U)", "hIoU")] == [37.5, 75.0, 0.0, 0.0]
    assert summary["mAcc"] == 75.0


def test_without_unseen_classes_there_is_no_unseen_number():
    summary = summarise(MATRIX, "abc", ())
    assert summary["mIoU(S)"] == pytest.approx(summary["mIoU"])
    assert math.isnan(summary["mIoU(U)"]) and math.isnan(summary["hIoU"])


def test_nothing_evaluated_is_all_nan_and_valid_json():
    summary = summarise(np.zeros((2, 2)), "ab", (1,))
    assert all(math.isnan(summary[key]) for key in ("pAcc", "mAcc", "mIoU", "mIoU(S)", "mIoU(U)", "hIoU"))
    assert json.loads(json.dumps(json_ready(summary), allow_nan=False))["hIoU"] is None


def test_seen_and_unseen_both_zero_give_zero_not_a_division_error():
    assert summarise(np.array([[0, 2], [2, 0]]), "ab", (1,))["hIoU"] == 0.0


def test_table_marks_unseen_classes_and_shows_two_decimals():
    lines = format_table(summarise(MATRIX, ("cat", "dog", "cow"), (2,))).splitlines()
    assert lines[2].split() == ["cat", "46.15", "75.00", "8"]
    assert lines[4].split() == ["cow", "*", "33.33", "37.50", "8"]
    assert lines[-1].split() == ["66.67", "66.67", "49.83", "58.08", "33.33", "42.36"]
    assert "-" in format_table(summarise(MATRIX, "abc", ())).splitlines()[-1].split()


def test_values_outside_the_classes_are_refused():
    confusion = ConfusionMatrix(3)
    with pytest.raises(ValueError, match=r"prediction\D+0\D+3\b"):
        confusion.update(np.array([0, 3]), np.array([0, 1]))
    with pytest.raises(ValueError, match=r"label\D+0\D+7\b"):
        confusion.update(np.array([0, 1]), np.array([0, 7]))
    with pytest.raises(ValueError, match=r"\(2, 2\).*\(2, 3\)"):
        confusion.update(np.zeros((2, 2), int), np.zeros((2, 3), int))
    with pytest.raises(ValueError, match=r"\(2, 2\).*\(3, 3\)"):
        confusion.merge(np.zeros((2, 2)))
    assert confusion.matrix.sum() == 0
