"""What all tools do alike: exit statuses, one sentence for an
error of the user, outputs tried before the work."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from jseg.runtime.command import exit_status, prove_writable

ROOT = Path(__file__).resolve().parents[2]


def failing(error):
    def run():
        raise error

    return run


@pytest.mark.parametrize(
    "run, status",
    [
        (lambda: None, 0),
        (lambda: 1, 1),
        (failing(ValueError("a: wrong")), 2),
        (failing(FileNotFoundError("a: wrong")), 2),
    ],
)
def test_exit_status(run, status, capsys):
    assert exit_status(run) == status
    assert capsys.readouterr().err == ("error: a: wrong\n" if status == 2 else "")


def test_errors_of_the_program_keep_their_traceback():
    with pytest.raises(TypeError):
        exit_status(failing(TypeError("wrong")))


def test_a_reader_that_leaves_ends_a_tool_in_silence():
    """`list_configs.py | true`: BrokenPipeError is an OSError, and was reported as an error of the user."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, str(ROOT / "tools/list_configs.py")],
            stdout=writer,
            stderr=subprocess.PIPE,
            timeout=60,
            text=True,
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_outputs_are_tried_and_nothing_is_left(tmp_path):
    (tmp_path / "old").write_text("kept")
    for name in ("old", "new", "folder/new"):
        prove_writable(tmp_path / name)
    prove_writable("/dev/null")
    assert (tmp_path / "old").read_text() == "kept"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["folder", "old"]
    for path, kind in ((tmp_path, IsADirectoryError), (tmp_path / "old/file", OSError)):
        with pytest.raises(kind, match=re.escape(str(path))) as refusal:
            prove_writable(path)
        assert refusal.value.errno is None  # a sentence of our own
