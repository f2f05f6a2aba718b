"""Two ranks, or two accumulation steps, give the same results as one rank with the whole batch."""

import json
from pathlib import Path

import numpy as np
import pytest
from tiny import tiny_config

from jseg.checkpoints import load_arrays
from jseg.runner import Runner
from jseg.runner.outputs import WRITTEN
from jseg.runner.step import rank_batch_size

pytestmark = pytest.mark.slow

PROGRAM = str(Path(__file__).with_name("training_program.py"))
TERMS = ("loss_mask", "loss_dice", "loss_size", "acc_seg", "total")


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> str:
    """Folder of the run on one rank without accumulation, evaluated."""
    folder = str(tmp_path_factory.mktemp("whole"))
    Runner(tiny_config(folder)).train()
    Runner(tiny_config(folder)).val(per_image=True)
    return folder


def read(folder: str, name: str) -> list:
    return [json.loads(line) for line in Path(folder, name).read_text(encoding="utf-8").splitlines()]


def assert_same_run(folder: str, whole: str) -> None:
    """Losses of every iteration, weights and optimizer state, up to the order of float32 sums."""
    own, one = read(folder, "log.jsonl"), read(whole, "log.jsonl")
    assert [row["iter"] for row in own] == list(range(1, 11))
    for row, expected in zip(own, one):
        assert [row[name] for name in TERMS] == pytest.approx(
            [expected[name] for name in TERMS], rel=2e-5, abs=1e-6
        )
    (ours, _), (theirs, _) = (
        load_arrays(Path(path, "checkpoints", "iter_10.safetensors")) for path in (folder, whole)
    )
    assert set(ours) == set(theirs)
    for name in theirs:
        np.testing.assert_allclose(ours[name], theirs[name], rtol=1e-3, atol=2e-5, err_msg=name)


def test_two_ranks_train_evaluate_and_segment_as_one(whole, mpirun, tmp_path):
    folder = str(tmp_path / "ranks")
    output = mpirun(2, PROGRAM, folder)
    assert "rank 0 is done" in output and "rank 1 is done" in output
    assert_same_run(folder, whole)
    metrics, expected = (json.loads(Path(path, "metrics.json").read_text()) for path in (folder, whole))
    assert {**metrics, "checkpoint": ""} == {**expected, "checkpoint": ""}
    assert read(folder, "per_image.jsonl") == read(whole, "per_image.jsonl")
    assert len(read(folder, "per_image.jsonl")) == 5
    assert sorted(path.name for path in Path(folder, "predictions").iterdir()) == [WRITTEN, "image_0.png"]


@pytest.mark.parametrize("accumulate", [2, 4])
def test_accumulation_changes_nothing_but_memory(whole, tmp_path, accumulate):
    Runner(tiny_config(str(tmp_path), accumulate=accumulate)).train()
    assert_same_run(str(tmp_path), whole)


def test_losses_depend_on_the_batch_as_a_whole(whole):
    """The comparison can fail: images differ in their counts,
    and some batches hold no labels in one half."""
    rows = read(whole, "log.jsonl")
    assert len({row["loss_dice"] for row in rows}) == 10 and min(row["loss_dice"] for row in rows) >= 0


@pytest.mark.parametrize("batch, ranks, accumulate, own", [(16, 1, 1, 16), (16, 4, 2, 4), (6, 1, 3, 6)])
def test_images_of_a_rank(batch, ranks, accumulate, own):
    assert rank_batch_size(batch, ranks, accumulate) == own


@pytest.mark.parametrize("batch, ranks, accumulate, fits", [(16, 3, 1, 15), (4, 8, 1, 8), (16, 2, 3, 12)])
def test_a_batch_that_cannot_be_dealt_out(batch, ranks, accumulate, fits):
    with pytest.raises(ValueError, match=rf"\bbatch_size\D*{batch}\b.*\bbatch_size={fits}\b"):
        rank_batch_size(batch, ranks, accumulate)
