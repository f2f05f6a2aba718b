"""Files written by the labelling tools' own libraries, against masks that the same libraries draw.

`make_exports.py` made both, and says with which versions.
"""

import pickle
from pathlib import Path

import numpy as np
import pytest

from jseg.datasets import FolderDataset, read_mask
from jseg.datasets.annotations.convert import Settings, convert
from jseg.datasets.annotations.core import Options
from jseg.datasets.annotations.formats import read, recognised

EXPORTS = Path(__file__).parent / "exports"
WORDS = ("cat", "dog", "tree")
CASES = {
    "labelme": ("one", "two"),
    "labelstudio": ("brush",),
    "cvat": ("one", "two"),
    "voc": ("scene",),
    "supervisely": ("one", "two"),
}


@pytest.mark.parametrize("name", CASES)
def test_masks_are_those_of_the_library(name, tmp_path):
    out = tmp_path / "out"
    source = pickle.loads(pickle.dumps(read(name, EXPORTS / name, Options())))  # as for other processes
    result = convert(source, out, Settings(classes=WORDS))
    assert result.problems == [] and result.names == WORDS
    with np.load(EXPORTS / "truth.npz") as truth:
        for image in CASES[name]:
            expected = truth[f"{name}.{image}"]
            expected = np.where(expected == 254, 255, expected)
            np.testing.assert_array_equal(read_mask(out / "masks" / f"{image}.png"), expected)
            assert len(np.unique(expected)) > 2
    assert len(FolderDataset(str(out))) == len(CASES[name])


@pytest.mark.parametrize("name", CASES)
def test_exports_are_recognised(name):
    assert recognised(EXPORTS / name) == name
