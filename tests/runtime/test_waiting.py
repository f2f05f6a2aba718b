"""A process that waits for a lock reports who holds it."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jseg.runtime.waiting import StatusLine, building_sentence, lock_holder, wait_announced, waiting_sentence

HOLD = (
    "import fcntl, sys\nfile = open(sys.argv[1], 'w')\nfcntl.{call}(file, fcntl.LOCK_EX)\n"
    "print('held', flush=True)\nsys.stdin.read(1)\n"
)


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="needs /proc/locks, which Linux has")
@pytest.mark.parametrize("call", ["flock", "lockf"])  # Jittor's Python and its C++ side
def test_the_holder_of_a_lock_is_named(tmp_path, call):
    """All Jittor programs of the same user used to wait for minutes without a message."""
    path = tmp_path / "jittor.lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD.format(call=call), str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as other:
        assert other.stdout.readline() == "held\n"
        assert lock_holder(os.getpid()) is None and waiting_sentence(os.getpid()) == ""
        said = []

        def told(sentence):
            said.append(sentence)
            other.stdin.close()  # it ends, and lets go

        with path.open("a") as file, wait_announced(told, seconds=0.2):
            getattr(fcntl, call)(file, fcntl.LOCK_EX)
        assert len(said) == 1 and f"process {other.pid} " in said[0] and "import fcntl" in said[0]
        assert "\n" not in said[0]


def test_the_progress_of_the_build(tmp_path):
    file = tmp_path / "progress"
    for content in (None, "", "5"):  # not there, being written
        if content is not None:
            file.write_text(content)
        assert building_sentence(file).endswith("this takes minutes")
    file.write_text("20 80 30.5")
    assert "20 of 80" in building_sentence(file) and "92 s left" in building_sentence(file)


@pytest.mark.parametrize("terminal, expected", [(True, "\r\x1b[Ka\r\x1b[Kb\r\x1b[K"), (False, "a\nb\n")])
def test_a_status_line_is_replaced_on_a_terminal_only(capsys, monkeypatch, terminal, expected):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    line = StatusLine()
    for text in ("a", "a", "b"):
        line.show(text)
    line.clear()
    assert capsys.readouterr().err == expected


# Holds the lock until the parent process is blocked by it, which Jittor is only after its message.
HOLD_UNTIL_BLOCKED = HOLD.format(call="lockf").replace(
    "sys.stdin.read(1)",
    """import os, time
from pathlib import Path
waiter = f" -> POSIX  ADVISORY  WRITE {os.getppid()} "
while waiter not in Path("/proc/locks").read_text():
    time.sleep(0.1)""",
)


@pytest.mark.skipif(not Path("/proc/locks").exists(), reason="needs /proc/locks, which Linux has")
def test_jittor_names_the_process_that_compiles_operators(tmp_path, capfd):
    """The C++ side of Jittor used to wait silently."""
    from jseg.runtime.backend import jt

    kept = sys.modules["jittor_utils"].lock.lock_path
    path = tmp_path / "jittor.lock"
    path.touch()
    command = [sys.executable, "-c", HOLD_UNTIL_BLOCKED, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        jt.core.set_lock_path(str(path))
        try:
            value = jt.code([1], "int32", cpu_src="@out(0) = 42;").numpy()  # an operator not loaded yet
        finally:
            jt.core.set_lock_path(kept)
    assert value[0] == 42
    assert capfd.readouterr().err.count(f"waiting for process {other.pid},") == 1
