"""When a rank counts as hanging, and that its watcher kills it. The watcher does not use MPI, and neither do
these tests."""

import re
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from jseg.distributed import watcher
from jseg.distributed.watcher import Judge
from jseg.runtime.processes import descendants, running

LONGEST = 100.0


def seconds_until_blamed(looks, limit=400):
    """Feeds one look a second, `looks(second)` -> (signs,
    activity, excuse); (second, reason) of the verdict."""
    judge = Judge(patience=10.0, longest=LONGEST, now=0.0)
    for second in range(1, limit):
        reason = judge.look(float(second), *looks(second))
        if reason:
            return second, reason
    return None


def test_a_rank_that_gives_signs_of_life_is_left_alone():
    assert seconds_until_blamed(lambda second: (second // 9, 0.0, "")) is None  # idle, a sign every 9 s
    assert seconds_until_blamed(lambda second: (second // 40, float(second), "")) is None  # slow but busy


@pytest.mark.parametrize("between", ["segmenting an image", watcher.WAITING + "gradients of iteration 7"])
def test_many_short_steps_say_nothing_about_the_next_long_one(between):
    # Iterations of 40 s; then 80 short steps, or signs while waiting; then another iteration.
    def looks(
        second,
    ):
        iteration = min(second // 40, 4)
        if second < 160 or (second >= 240 and "segmenting" in between):
            return iteration + (80 if second >= 240 else 0), second, "", f"computing iteration {iteration}"
        return 4 + min(second - 160, 80), second, "", between

    assert seconds_until_blamed(looks, limit=280) is None


@pytest.mark.parametrize(
    "looks, when, why",
    [
        # Falls asleep or is stopped.
        (lambda second: (min(second, 30), min(second, 30), ""), 41, r"\b11 s\b.*\b11 s\b"),
        (lambda second: (0, 0.0, ""), 11, r"\b11 s\b.*\b11 s\b"),  # never wakes up
        (lambda second: (min(second, 30), second, ""), 41, r"\b11 s\b.*\b1\.0 s\b"),  # an endless loop
        (lambda second: (0, second, ""), 101, r"\b101 s\b"),  # an endless loop before the first step
    ],
)
def test_a_rank_that_hangs_is_blamed(looks, when, why):
    second, reason = seconds_until_blamed(looks)
    assert abs(second - when) <= 1 and re.search(why, reason)


def test_compiling_may_take_long_but_not_for_ever():
    second, reason = seconds_until_blamed(lambda second: (1, 0.0, "running cc1plus"))
    assert second == LONGEST + 2 and "running cc1plus" in reason


def test_descendants_of_descendants_are_found():
    assert descendants(1, {1: 0, 2: 1, 3: 2, 4: 9}) == {2, 3}


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="the watcher reads /proc")
def test_a_process_that_sleeps_is_named_and_killed_with_its_children(tmp_path):
    rank = tmp_path / "rank.py"
    rank.write_text(
        textwrap.dedent(f"""
        import json, mmap, os, subprocess, sys, time
        sys.path.insert(0, {str(Path(watcher.__file__).parent)!r})
        from watcher import HEADER, SIZE
        shared = os.memfd_create("test")
        os.ftruncate(shared, SIZE)
        memory = mmap.mmap(shared, SIZE)
        HEADER.pack_into(memory, 0, 1, 4)
        memory[HEADER.size:HEADER.size + 4] = b"idle"
        settings = dict(pid=os.getpid(), memory=shared, patience=1.0, longest=60.0, name="rank 3 on here")
        command = [sys.executable, "-I", {watcher.__file__!r}]
        process = subprocess.Popen(command, pass_fds=(shared,), stdin=subprocess.PIPE, text=True)
        with process.stdin:
            json.dump(settings, process.stdin)
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        print(child.pid, flush=True)
        time.sleep(60)
    """)
    )
    done = subprocess.run([sys.executable, str(rank)], capture_output=True, text=True, timeout=30)
    assert done.returncode == -signal.SIGKILL
    assert "rank 3 on here" in done.stderr and "idle" in done.stderr
    assert re.search(r"\b\d+ s\b.*\b\d+ s\b", done.stderr)  # without a heartbeat, without CPU time
    assert not running(int(done.stdout))  # gone, or dead with nobody to collect it
