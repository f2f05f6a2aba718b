"""Samples that a thread or worker processes read ahead: order, errors, and the end of the workers."""

import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jseg.datasets import VOCDataset
from jseg.datasets.ahead import load_ahead
from jseg.datasets.batch import load_sample

BOTH = pytest.mark.parametrize("num_workers", [0, 2])


@pytest.fixture
def dataset(voc_root):
    """Five images in test mode, of several sizes."""
    for name, size in (("b2", (60, 30)), ("d4", (20, 90))):
        Image.fromarray(np.zeros((*size, 3), np.uint8)).save(voc_root / f"JPEGImages/{name}.png")
        Image.fromarray(np.ones(size, np.uint8)).save(voc_root / f"SegmentationClass/{name}.png")
    return VOCDataset(str(voc_root), "train", test_mode=True, pipeline=dict(short_side=20))


def read(dataset, indices, num_workers):
    return load_ahead(dataset, load_sample, ([(index, 0)] for index in indices), num_workers)


@BOTH
def test_samples_come_in_order_as_the_dataset_gives_them(dataset, num_workers, running):
    indices = [4, 1, 0, 3, 2, 1, 1, 0, 4]
    threads = threading.active_count()
    seen = 0
    for index, answer in zip(indices, read(dataset, indices, num_workers)):
        expected, sample = dataset.sample(index), answer.result()
        assert sample.keys() == expected.keys()
        for key, value in expected.items():
            np.testing.assert_array_equal(sample[key], value)
        assert sample["label"].shape == sample["original_size"]
        seen += 1
    assert seen == len(indices) and dataset.sample(0)["image"].shape[1:] != (30, 40)
    assert not running() and threading.active_count() == threads


@BOTH
def test_fewer_images_than_workers_and_none(dataset, num_workers):
    assert [answer.result()["name"] for answer in read(dataset, [3], num_workers)] == ["d4"]
    assert list(read(dataset, [], num_workers)) == []


@BOTH
def test_an_unreadable_image_has_its_error_and_the_others_follow(dataset, num_workers):
    dataset.records[1].image.unlink()
    damaged = dataset.records[2].image
    damaged.write_bytes(damaged.read_bytes()[:60])
    found = list(read(dataset, range(5), num_workers))
    assert [type(answer.exception()) for answer in found] == [
        type(None),
        FileNotFoundError,
        ValueError,
        type(None),
        type(None),
    ]
    assert str(dataset.records[1].image) in str(found[1].exception())
    assert damaged.name in str(found[2].exception())
    assert [found[index].result()["name"] for index in (0, 3, 4)] == ["a1", "d4", "e5"]


@BOTH
def test_nothing_runs_once_the_iterator_is_closed(dataset, num_workers, running):
    threads = threading.active_count()
    answers = read(dataset, range(5), num_workers)
    next(answers).result()
    assert len(running()) == num_workers
    answers.close()
    assert not running() and threading.active_count() == threads


def test_a_killed_worker_is_an_error_with_what_it_was_reading(dataset, running):
    answers = read(dataset, [0, 1, 2, 3, 4] * 4, 1)
    next(answers)
    running()[0].kill()
    with pytest.raises(ChildProcessError, match=r"num_workers.*\b0\b.*\b9\b.*\b[a-e][1-5];"):
        for _ in range(10):  # what was finished before may still arrive
            next(answers)
    assert not running()


class Unloadable(VOCDataset):
    """It can be pickled, but in another process a file is missing."""

    def __setstate__(self, state):
        raise FileNotFoundError(f"{Path('index.db')} is on another disk")


def test_a_dataset_that_workers_cannot_load_is_no_error_of_an_image(voc_root):
    answers = read(Unloadable(str(voc_root), "train"), range(5), 1)
    with pytest.raises(FileNotFoundError, match="dataset cannot be loaded.*index.db"):
        next(answers)
