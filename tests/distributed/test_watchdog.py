"""When a rank counts as hanging, and that its watcher kills it. The watcher does not use MPI, and neither do
these tests."""

import json
import re
import signal
import socket
import subprocess
import sys
import textwrap
import time
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


# A host watcher that stays a child of this process, with a "rank" that sleeps.
WATCH = f"""
import json, sys
sys.path.insert(0, {str(Path(watcher.__file__).parent)!r})
import host_watcher
host_watcher.main(json.load(sys.stdin))
"""


def start_host(settings: dict, *descriptors: int) -> tuple[subprocess.Popen, subprocess.Popen]:
    """(watcher, rank) of a host."""
    sleeping = subprocess.Popen(["sleep", "60"])
    process = subprocess.Popen(
        [sys.executable, "-I", "-c", WATCH],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=descriptors,
        text=True,
    )
    json.dump({"token": "t" * 32, "patience": 3.0, "pids": [sleeping.pid], **settings}, process.stdin)
    process.stdin.close()
    return process, sleeping


@pytest.fixture
def two_hosts():
    """The host of rank 0, called a, and another, b."""
    with socket.create_server(("", 0)) as listener:
        center = {"name": "a", "listener": listener.fileno(), "hosts": {"1": "b (rank 1)"}}
        port = listener.getsockname()[1]
        other = {"name": "b", "number": 1, "center": "a (rank 0)", "port": port, "addresses": ["127.0.0.1"]}
        hosts = start_host(center, listener.fileno()), start_host(other)
    time.sleep(2.0)  # they are connected
    yield hosts
    for process in (process for host in hosts for process in host):
        process.kill()
        process.wait()
        if process.stderr:
            process.stderr.close()


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="the watcher reads /proc")
@pytest.mark.parametrize(
    "number, said", [(signal.SIGSTOP, "silent for 3 s"), (signal.SIGKILL, "closed its connection")]
)
def test_a_host_that_stops_or_dies_is_named_and_its_loss_ends_the_other(two_hosts, number, said):
    (watcher_a, rank_a), (watcher_b, rank_b) = two_hosts
    watcher_b.send_signal(number)
    assert watcher_a.wait(20) == 0 and rank_a.wait(5) == -signal.SIGKILL
    message = watcher_a.stderr.read()
    assert "error: a ends: b (rank 1)" in message and said in message and "--resume auto" in message
    assert rank_b.poll() is None
    watcher_b.send_signal(signal.SIGCONT)  # a host that goes on has been told to stop, and needs no message
    if number == signal.SIGSTOP:
        assert watcher_b.wait(20) == 0 and rank_b.wait(5) == -signal.SIGKILL
        assert watcher_b.stderr.read() == ""


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="the watcher reads /proc")
def test_hosts_whose_ranks_end_say_so(two_hosts):
    (watcher_a, rank_a), (watcher_b, rank_b) = two_hosts
    rank_b.kill()
    rank_b.wait()
    assert watcher_b.wait(10) == 0
    time.sleep(1.5)
    assert rank_a.poll() is None  # another rank that ends is mpirun's business
    assert watcher_a.wait(10) == 0 and watcher_a.stderr.read() == watcher_b.stderr.read() == ""
