"""A process that waits for a lock reports who holds it."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from jseg.runtime.waiting import lock_holder, wait_announced, waiting_sentence

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
