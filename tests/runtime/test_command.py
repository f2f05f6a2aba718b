"""What all tools do alike: exit statuses, one sentence for an
error of the user, outputs tried before the work."""

import io
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jseg.runtime.command import INTERRUPTED, exit_status, prove_writable, say

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


def test_an_interrupt_counts_more_than_the_error_it_has_caused(capsys):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    # Compiled first: after exec() of a string, Python remembers the interrupt and ends the test run by it.
    program = compile("import _signal; _signal.raise_signal(_signal.SIGINT) or 1 / 0", "<test>", "exec")
    try:
        assert exit_status(lambda: exec(program)) == INTERRUPTED
    finally:
        signal.signal(signal.SIGINT, before)
    assert capsys.readouterr().err == "interrupted\n"


def test_errors_of_the_program_keep_their_traceback():
    with pytest.raises(TypeError):
        exit_status(failing(TypeError("wrong")))


def test_a_reader_that_leaves_ends_a_tool_in_silence():
    """With `list_configs.py | true`, BrokenPipeError, which is an OSError, used to be reported as a user
    error."""
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


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("command", [["tools/list_configs.py"], ["-m", "jseg", "configs"]])
def test_every_encoding_of_the_output_will_do(encoding, command):
    """The dash of an empty cell used to raise a UnicodeEncodeError."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0 and done.stderr == b""
    dash = "\u2013" if encoding == "utf-8" else "\\u2013"
    assert dash in done.stdout.decode(encoding)


def test_what_an_encoding_lacks_is_escaped(monkeypatch):
    for encoding in ("ascii", "latin-1"):
        stream = io.TextIOWrapper(io.BytesIO(), encoding)
        say("caf\u00e9 \u732b \udcff", stream)
        accent = "caf\\xe9" if encoding == "ascii" else "caf\u00e9"
        assert stream.buffer.getvalue().decode(encoding) == accent + " \\u732b \\udcff\n"
        monkeypatch.setattr(sys, "stdout", stream)
        assert exit_status(lambda: print("\u732b")) == 0
        assert stream.buffer.getvalue().endswith(b"\\u732b\n")


def test_a_console_that_is_lost_costs_the_words_alone():
    reader, writer = os.pipe()
    stream = os.fdopen(writer, "w")
    say("heard", stream)
    assert os.read(reader, 100) == b"heard\n"
    os.close(reader)
    for word in ("lost", "lost too"):
        say(word, stream)
    stream.close()  # flushes once more


@pytest.mark.parametrize("name", ["list_configs", "check_dataset"])
def test_ctrl_c_in_a_tool(name):
    """Also during imports, where a traceback used to be printed."""
    interrupt = (
        "import os, runpy, signal, sys\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, *rest):\n"
        "        if name == 'jseg.config.validate' or name == 'jseg.config':\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "runpy.run_path(sys.argv[1], run_name='__main__')\n"
    )
    command = [sys.executable, "-c", interrupt, str(ROOT / f"tools/{name}.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "interrupted\n")


def test_errors_of_the_program_are_shown_whole():
    program = "from jseg.runtime.command import quiet_interrupt\nquiet_interrupt()\n1 / 0\n"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1 and done.stderr.endswith("ZeroDivisionError: division by zero\n")


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
