"""COCO's run lengths against their definition and against a writer of their own."""

import contextlib

import numpy as np
import pytest
from miniature import compressed_rle

from jseg.datasets.annotations.rle import decode_rle


def test_by_hand():
    """2 rows, 3 columns, columns first: 0 1 | 1 1 | 0 1 -> runs 1 3 1 1. From the fourth number on the
    difference to the run before the last: 1 - 3 = -2. Digits 1, 3, 1 and 30 (-2 in five bits), plus 48: '1',
    '3', '1', 'N'."""
    region = decode_rle({"size": [2, 3], "counts": "131N"})
    np.testing.assert_array_equal(region, [[0, 1, 0], [1, 1, 1]])
    np.testing.assert_array_equal(decode_rle({"size": [2, 3], "counts": [1, 3, 1, 1]}), region)


def test_long_runs_take_several_characters():
    """100 = 4 + 3 * 32: the digits 4 (more follow: + 32) and 3, so 'T3'; 300 = 12 + 9 * 32: '\\\\9'."""
    region = decode_rle({"size": [400, 1], "counts": "T3\\9"})
    assert not region[:100].any() and region[100:].all()


@pytest.mark.parametrize("seed", range(20))
def test_round_trip(seed):
    rng = np.random.default_rng(seed)
    shape = rng.integers(1, 90, 2)
    region = rng.random(shape) < rng.choice([0.0, 0.02, 0.5, 0.98, 1.0])
    region = np.kron(region, np.ones((rng.integers(1, 12), 1), bool))
    np.testing.assert_array_equal(decode_rle(compressed_rle(region)), region)


@pytest.mark.parametrize(
    "segmentation",
    [
        {"size": [2, 3], "counts": "131"},
        {"size": [2, 4], "counts": "131N"},
        {"size": [2, 3], "counts": ""},
        {"size": [2, 3], "counts": "131n"},
        {"size": [2, 3], "counts": "13 1N"},
        {"size": [2, 3], "counts": "13\u20ac"},
        {"size": [2, 3], "counts": [1, 3, 1]},
        {"size": [2, 3], "counts": [1, "x"]},
        {"size": [2, 3], "counts": [7, -1]},
        {"size": [2], "counts": "131N"},
        {"counts": "131N"},
        [[1, 2, 3]],
        None,
        {"size": [2, 3], "counts": "o" * 40 + "1"},
        {"size": [2, 3], "counts": "N9"},
        {"size": [-2, -3], "counts": "131N"},
    ],
)
def test_refused(segmentation):
    with pytest.raises(ValueError, match=r"size.*counts|\b\d+x-?\d+\b"):
        decode_rle(segmentation)


def test_random_text_never_breaks_it():
    rng = np.random.default_rng(0)
    for _ in range(300):
        text = "".join(map(chr, rng.integers(40, 120, rng.integers(1, 40))))
        with contextlib.suppress(ValueError):
            assert decode_rle({"size": [7, 5], "counts": text}).shape == (7, 5)
