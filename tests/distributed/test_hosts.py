"""Ranks on two hosts, which are network namespaces of this machine. several_hosts.py tests training."""

import subprocess
import sys
import time

import hosts as hosts_module
import pytest

pytestmark = pytest.mark.slow

# Prints its host's name and address, and what it finds in /tmp and the home folder after writing there.
OWN = """
import os, socket
from pathlib import Path
name = socket.gethostname()
for folder in (Path("/tmp"), Path.home(), Path("disk")):
    (folder / f"of_{name}").touch()
    print(*sorted(path.name for path in folder.glob("of_*")))
print(socket.gethostbyname(name))
"""
PROGRAM = """
import os, socket, sys
import numpy as np
from jseg.distributed import all_reduce_sum, gather_objects, local_size, rank
total = all_reduce_sum(np.arange(1000.0) + rank())
assert np.array_equal(total, np.arange(1000.0) * 2 + 1), total
assert local_size() == 1
if rank() == 0:
    print("ranks on", *gather_objects(socket.gethostname()))
else:
    gather_objects(socket.gethostname())
"""
# 5 MB each way at a time, and both at once 4 s at 20 Mbit/s; one after the other 8 s. The better of two,
# since machines are busy.
TIMED = """
import time
import numpy as np
from jseg.distributed import barrier, mpi, rank
values = np.ones(2_500_000, np.float32)
seconds = []
for _ in range(2):
    barrier()
    start = time.perf_counter()
    mpi.all_reduce(values, "sum", "a test")
    seconds.append(time.perf_counter() - start)
if rank() == 0:
    print("seconds:", min(seconds))
"""


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    reason = hosts_module.missing()
    if reason:
        pytest.skip(reason)
    with hosts_module.Hosts(tmp_path_factory.mktemp("hosts"), 2) as hosts:
        yield hosts


def output(process: subprocess.Popen) -> str:
    text, _ = process.communicate(timeout=200)
    assert process.returncode == 0, text
    return text


def test_hosts_have_names_addresses_and_folders_of_their_own(two):
    for number, host in enumerate(two.hosts):
        command = [sys.executable, "-c", OWN]
        printed = output(two.start(command, number, stdout=subprocess.PIPE, text=True))
        assert printed.split() == [f"of_{host.name}"] * 3 + [host.address]
    assert len({host.address for host in two.hosts}) == 2


def on_both(two: hosts_module.Hosts, text: str) -> str:
    """Output of a program, run by a rank on each host."""
    program = two.shared / "program.py"
    program.write_text(text)
    options = ["--hostfile", str(two.hostfile(2, 1)), "-x", "PATH", "-x", "PYTHONPATH"]
    command = ["mpirun", "--prefix", sys.prefix, *options, "python", str(program)]
    return output(two.start(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))


def test_ranks_of_two_hosts_reach_each_other(two):
    printed = on_both(two, PROGRAM)
    assert f"ranks on {two.hosts[0].name} {two.hosts[1].name}" in printed
    deadline = time.monotonic() + 10.0
    while any(host.processes() for host in two.hosts):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_the_two_directions_of_a_network_are_used_at_once(two):
    two.limit(1, "20mbit")
    try:
        printed = on_both(two, TIMED)
    finally:
        two.limit(1, "")
    assert 3.5 < float(printed.split("seconds:")[1].split()[0]) < 7.0, printed


def test_a_host_that_is_killed_has_no_process_left(two):
    sleeping = two.start(["sleep", "100"], 1)
    while sleeping.pid not in two.hosts[1].processes():  # `nsenter` has become it
        assert sleeping.poll() is None
    two.hosts[1].kill()
    assert sleeping.wait(10) and not two.hosts[1].processes()
