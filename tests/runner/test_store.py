"""Checkpoint files: atomic, pruned, the best kept, damaged ones skipped."""

import errno
import os

import numpy as np
import pytest

import jseg.files
from jseg.checkpoints.pointers import behind_pointer
from jseg.runner.store import CheckpointStore

ARRAYS = {"a": np.arange(1000, dtype=np.float32)}


def damage(path):
    with path.open("r+b") as file:
        file.seek(-100, os.SEEK_END)
        byte = file.read(1)
        file.seek(-100, os.SEEK_END)
        file.write(bytes([byte[0] ^ 1]))


@pytest.fixture
def store(tmp_path):
    return CheckpointStore(str(tmp_path), keep=2, interval=10)


def test_the_newest_regular_ones_and_the_best_stay(store):
    for iteration in (10, 20, 30, 33, 40, 50):
        store.save(iteration, ARRAYS, {})
        if iteration in (20, 30, 50):
            score = {20: 7.0, 30: 6.5, 50: 7.0}[iteration]
            assert store.is_best(iteration, score) == (iteration == 20)
            if iteration == 20:
                store.point_to_best(iteration, score)
    assert store.iterations() == [20, 40, 50]  # 20 is the best; 33 was saved for a signal
    assert store.is_best(50, 7.1) and not store.is_best(50, float("nan"))
    store.point_to_best(50, 7.1)
    assert store.iterations() == [40, 50]
    assert behind_pointer(store.folder / "best") == store.path(50)
    with pytest.raises(FileNotFoundError, match="checkpoints/latest"):
        behind_pointer(store.folder.parent)


def test_a_failed_save_keeps_the_earlier_checkpoint(store, monkeypatch):
    first = store.save(1, ARRAYS, {})

    def full_disk(*arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(jseg.files.os, "fsync", full_disk)
    with pytest.raises(OSError, match=r"^(?=.*No space left).*iter_1\.safetensors"):
        store.save(2, ARRAYS, {})
    monkeypatch.undo()
    assert store.newest() == first and store.iterations() == [1]
    # No half file stays.
    assert sorted(path.name for path in store.folder.iterdir()) == [
        "iter_1.safetensors",
        "latest",
    ]
    store.save(2, ARRAYS, {})
    assert store.newest() == store.path(2)


def test_a_file_size_limit_is_a_full_disk_too(store):
    """A write that is really truncated, by RLIMIT_FSIZE in a child process."""
    store.save(1, {"a": np.zeros(10, np.float32)}, {})
    child = os.fork()
    if child == 0:
        import resource
        import signal

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))
        try:
            store.save(2, ARRAYS, {})
        except OSError as error:
            os._exit(7 if "iter_1.safetensors" in str(error) else 8)
        os._exit(9)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert store.newest_undamaged(pytest.fail) == store.path(1)


def test_a_damaged_checkpoint_is_skipped_with_a_warning(store):
    for iteration in (10, 20):
        store.save(iteration, ARRAYS, {"iteration": str(iteration)})
    damage(store.path(20))
    warnings = []
    assert store.newest_undamaged(warnings.append) == store.path(10)
    assert len(warnings) == 1 and "iter_20" in warnings[0] and "SHA-256" in warnings[0]
    damage(store.path(10))
    with pytest.raises(ValueError, match=r"--resume.*\.damaged"):
        store.newest_undamaged(warnings.append)


def test_traces_of_a_kill_are_cleared_and_later_checkpoints_set_aside(store):
    """A kill after the renaming leaves a complete file that is not in `latest` yet."""
    for iteration in (10, 20, 30):
        store.save(iteration, ARRAYS, {})
    store.point_to_best(30, 5.0)
    half = store.folder / ".iter_40.safetensors.1.abc.tmp"
    half.touch()
    (store.folder / "latest").write_text("iter_20.safetensors\n")
    assert store.newest_undamaged(pytest.fail) == store.path(30)
    store.go_on_after(20)
    assert not half.exists() and store.iterations() == [20]
    assert store.newest() == store.path(20) and store.is_best(20, 0.0)
    assert store.path(30).with_name("iter_30.safetensors.abandoned").exists()
