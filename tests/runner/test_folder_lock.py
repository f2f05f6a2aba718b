"""A work folder is used by only one training at a time."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jseg.runner import Runner
from jseg.runner.folder_lock import occupied

ROOT = Path(__file__).resolve().parents[2]
HOLD = (
    "import sys, time\nfrom jseg.runner.folder_lock import occupied\n"
    "with occupied(sys.argv[1], 'train', print):\n    print('here', flush=True)\n    time.sleep(60)\n"
)


@pytest.fixture
def other(tmp_path):
    """A process that holds the lock of `tmp_path/run`."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout.readline() == "here\n"
        yield process
        process.kill()


def test_a_second_training_is_refused_and_the_first_named(other, make_config):
    """Both used to end with status 0, with mixed logs, checkpoints and metrics."""
    cfg = make_config(max_iters=2)
    with pytest.raises(OSError, match=rf"{cfg.work_dir}.*process {other.pid} on .*--work-dir"):
        Runner(cfg).train()
    assert {path.name for path in Path(cfg.work_dir).iterdir()} == {".train.lock"}
    other.send_signal(signal.SIGKILL)  # a crash leaves no lock behind
    other.wait()
    Runner(cfg).train()
    Runner(cfg).val()
    assert Path(cfg.work_dir, "metrics.json").exists()


def test_each_task_has_a_lock_of_its_own(tmp_path):
    with (
        occupied(tmp_path, "train", print),
        occupied(tmp_path, "val", print),
        pytest.raises(OSError, match=str(os.getpid())),
        occupied(tmp_path, "val", print),
    ):
        pass
    with occupied(tmp_path, "val", print):
        pass


def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    said = []
    with occupied(tmp_path, "train", said.append):
        assert len(said) == 1 and str(tmp_path) in said[0]
