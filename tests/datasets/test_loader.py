"""Order, reproducibility across threads, workers and ranks, and errors."""

import itertools
import os
import re
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jseg.datasets import DataLoader, VOCDataset


def dataset_of(root, **options):
    defaults = {"split": "train", "pipeline": dict(crop_size=24, scale=(80, 30))}
    return VOCDataset(str(root), **{**defaults, **options})


def take(loader, count, start=0):
    batches = loader.batches(start)
    try:
        return list(itertools.islice(batches, count))
    finally:
        batches.close()


def assert_same(first, second):
    assert first["names"] == second["names"]
    for key in ("image", "label"):
        np.testing.assert_array_equal(first[key], second[key])


def test_batch_form(voc_root):
    batch = DataLoader(dataset_of(voc_root), 3, seed=0).batch(0)
    assert batch["image"].shape == (3, 3, 24, 24) and batch["image"].dtype == np.float32
    assert batch["label"].shape == (3, 24, 24) and batch["label"].dtype == np.uint8
    assert len(batch["names"]) == 3


def test_every_epoch_is_another_permutation(voc_root):
    loader = DataLoader(dataset_of(voc_root), 2, seed=3)
    pairs = [pair for iteration in range(10) for pair in loader.indices(iteration)]  # 20 = 4 epochs of 5
    epochs = [tuple(index for index, _ in pairs[5 * e : 5 * e + 5]) for e in range(4)]
    assert [epoch for _, epoch in pairs] == [0] * 5 + [1] * 5 + [2] * 5 + [3] * 5
    assert all(sorted(order) == [0, 1, 2, 3, 4] for order in epochs) and len(set(epochs)) > 1
    plain = DataLoader(dataset_of(voc_root), 2, seed=3, shuffle=False)
    assert [plain.indices(i) for i in range(3)] == [[(0, 0), (1, 0)], [(2, 0), (3, 0)], [(4, 0), (0, 1)]]


def test_two_ranks_partition_what_one_rank_sees(voc_root):
    dataset = dataset_of(voc_root)
    one = DataLoader(dataset, 4, seed=1)
    two = [DataLoader(dataset, 2, seed=1, rank=rank, world_size=2) for rank in (0, 1)]
    for iteration in range(6):
        assert one.indices(iteration) == two[0].indices(iteration) + two[1].indices(iteration)
    whole, halves = one.batch(5), [loader.batch(5) for loader in two]
    np.testing.assert_array_equal(whole["image"], np.concatenate([half["image"] for half in halves]))


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_same_batches_however_they_are_prepared_and_wherever_they_start(voc_root, num_workers):
    dataset = dataset_of(voc_root)
    loader = DataLoader(dataset, 2, seed=5, num_workers=num_workers)
    for offset, batch in enumerate(take(loader, 5, start=7)):
        assert_same(batch, DataLoader(dataset, 2, seed=5).batch(7 + offset))


@pytest.mark.parametrize("world_size, num_workers", [(2, 2), (4, 0), (4, 1)])
def test_ranks_with_workers_together_see_what_one_rank_sees(voc_root, world_size, num_workers):
    """An image depends on (seed, epoch, index) alone, through every random step of the released recipe."""
    dataset = dataset_of(voc_root)
    assert [type(step).__name__ for step in dataset.transforms] == [
        "Resize",
        "RandomCrop",
        "RandomFlip",
        "PhotometricDistortion",
        "Normalize",
        "Pad",
    ]
    options = dict(seed=2, world_size=world_size, num_workers=num_workers)
    ranks = [
        take(DataLoader(dataset, 4 // world_size, rank=rank, **options), 3, start=4)
        for rank in range(world_size)
    ]
    for offset in range(3):
        whole, parts = (
            DataLoader(dataset, 4, seed=2).batch(4 + offset),
            [batches[offset] for batches in ranks],
        )
        assert whole["names"] == [name for part in parts for name in part["names"]]
        for key in ("image", "label"):
            np.testing.assert_array_equal(whole[key], np.concatenate([part[key] for part in parts]))


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("damage", ["image", "label"])
def test_the_bad_file_is_named_also_from_a_worker(voc_root, num_workers, damage):
    if damage == "image":
        path = voc_root / "JPEGImages/d4.png"
        path.write_bytes(path.read_bytes()[:500])
    else:
        path = voc_root / "SegmentationClass/d4.png"
        Image.fromarray(np.full((30, 40), 77, np.uint8)).save(path)
    loader = DataLoader(dataset_of(voc_root), 1, seed=0, num_workers=num_workers, shuffle=False)
    batches = loader.batches(0)
    # the good ones still arrive
    assert [next(batches)["names"] for _ in range(3)] == [["a1"], ["b2"], ["c3"]]
    problem = r"\b77\b" if damage == "label" else path.name
    with pytest.raises(ValueError, match=rf"\A[^\n]*{problem}[^\n]*\Z") as caught:
        next(batches)
    assert str(path) in str(caught.value)
    with pytest.raises(StopIteration):
        next(batches)


def test_workers_and_threads_end_with_the_iterator(voc_root, running):
    dataset = dataset_of(voc_root)
    threads = threading.active_count()
    for num_workers in (0, 2):
        batches = DataLoader(dataset, 2, seed=0, num_workers=num_workers).batches(0)
        next(batches)
        assert len(running()) == num_workers
        batches.close()
        assert not running() and threading.active_count() == threads


def test_a_dead_worker_is_reported_with_what_it_was_doing(voc_root, running):
    batches = DataLoader(dataset_of(voc_root), 2, seed=0, num_workers=1, shuffle=False).batches(0)
    next(batches)
    running()[0].kill()
    expected = r"\b0\b.*\b9\b.*\b[a-e][1-5], [a-e][1-5]\b.*num_workers"
    with pytest.raises(ChildProcessError, match=expected):
        for _ in range(10):  # what was finished before may still arrive
            next(batches)
    assert not running()


def test_a_program_error_in_a_worker_arrives_with_its_traceback(voc_root):
    dataset = dataset_of(voc_root)
    dataset.transforms = (len,)  # a transform takes two arguments
    batches = DataLoader(dataset, 1, seed=0, num_workers=1).batches(0)
    with pytest.raises(RuntimeError, match="Traceback[^$]*TypeError"):
        next(batches)


MAIN = """
import sys
from pathlib import Path
assert __name__ == '__main__', 'the main script was imported again'
from jseg.datasets import DataLoader, VOCDataset
dataset = VOCDataset(sys.argv[1], 'train', pipeline=dict(crop_size=24, scale=(80, 30)))
print('some output')
batches = DataLoader(dataset, 2, seed=0, num_workers=2).batches(0)
print(next(batches)['image'].shape)
"""


def test_scripts_need_no_main_guard_and_leave_nothing_behind(voc_root, tmp_path):
    """Also: the iterator is never closed here, yet the script ends."""
    script = tmp_path / "script.py"
    script.write_text(MAIN)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path),
    }
    done = subprocess.run(
        [sys.executable, str(script), str(voc_root)],
        env=environment,
        cwd=str(tmp_path),
        timeout=60,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["some output", "(2, 3, 24, 24)"]


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_is_replaced_by_the_next_and_named(voc_root, workers):
    """Order a1, a2, ...: the damaged second image gives way to the third, in every run alike."""
    dataset = dataset_of(voc_root)
    names = [dataset.name(index) for index in range(len(dataset))]
    damaged = dataset.records[1].image
    damaged.write_bytes(damaged.read_bytes()[:40])
    options = dict(batch_size=3, seed=0, shuffle=False, num_workers=workers)
    batch, second = take(DataLoader(dataset, **options, skip_unreadable=True), 2)
    assert batch["names"] == [names[0], names[2], names[2]]
    assert list(batch["bad"]) == [names[1]] and damaged.name in batch["bad"][names[1]]
    assert second["bad"] == {}
    with pytest.raises(ValueError, match=damaged.name):
        take(DataLoader(dataset, **options), 1)


def test_a_data_set_without_readable_images_stops(voc_root):
    dataset = dataset_of(voc_root)
    for record in dataset.records:
        record.image.unlink()
    with pytest.raises(FileNotFoundError, match=r"\.png.*\b5\b"):
        DataLoader(dataset, 2, seed=0, skip_unreadable=True).batch(0)


class Undecodable(VOCDataset):
    """Its reader raises an error that cannot be created from a message alone."""

    def raw(self, index):
        raise UnicodeDecodeError("utf-8", b"abc", 0, 1, f"wrong byte in the notes of {self.name(index)}")


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("skip", [False, True])
def test_an_error_that_needs_more_than_a_message_arrives_with_it(voc_root, workers, skip):
    """UnicodeDecodeError takes five arguments, so raising `type(error)(text)` raised a TypeError instead."""
    dataset = Undecodable(str(voc_root), "train", pipeline=dict(crop_size=24, scale=(80, 30)))
    loader = DataLoader(dataset, 2, seed=0, shuffle=False, num_workers=workers, skip_unreadable=skip)
    with pytest.raises(ValueError, match="codec can't decode byte.*notes of") as caught:
        take(loader, 1)
    assert bool(re.search(r"\b5\b", str(caught.value))) == skip


def test_importing_the_data_side_does_not_import_jittor():
    code = "import sys, jseg.datasets, jseg.datasets.worker; sys.exit('jittor' in sys.modules)"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(entry or str(Path.cwd()) for entry in sys.path),
    }
    assert subprocess.run([sys.executable, "-c", code], env=environment, timeout=60).returncode == 0


def test_images_of_several_sizes_in_a_batch(voc_root):
    Image.fromarray(np.zeros((30, 60, 3), np.uint8)).save(voc_root / "JPEGImages/b2.png")
    Image.fromarray(np.zeros((30, 60), np.uint8)).save(voc_root / "SegmentationClass/b2.png")
    dataset = dataset_of(voc_root, test_mode=True, pipeline=dict(short_side=30))
    expected = r"'a1'.*\(3, 30, 40\).*'b2'.*\(3, 30, 60\).*batch_size"
    with pytest.raises(ValueError, match=expected):
        DataLoader(dataset, 2, seed=0, shuffle=False).batch(0)
    assert DataLoader(dataset, 1, seed=0, shuffle=False).batch(1)["image"].shape == (1, 3, 30, 60)


@pytest.mark.parametrize(
    "options, pattern",
    [
        (dict(batch_size=0), r"batch_size.*\b0\b"),
        (dict(num_workers=-1), "num_workers.*-1"),
        (dict(rank=2, world_size=2), r"rank.*\b2\b"),
    ],
)
def test_impossible_options(voc_root, options, pattern):
    with pytest.raises(ValueError, match=pattern):
        DataLoader(dataset_of(voc_root), **{"batch_size": 1, "seed": 0, **options})
