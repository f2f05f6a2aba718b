"""Faults of hosts and of the network between them, once each, on real `mpirun` trainings on two hosts.

    python tests/distributed/fault_on_hosts.py --out /tmp/fault_on_hosts

The hosts are those of hosts.py, which needs root. The model is that of tiny.py with 4 MB of gradients, which
take a third of a second at 100 Mbit/s, so that a cable is nearly always cut in the middle of their sum. Its
data are images of ZeroShapes.

The second host loses its cable (for good, or for ten seconds), its power, all its processes, or stops; it
has a slow network, or one that loses 5 % of the frames and needs 50 ms; its clock is an hour ahead; its disk
is full; its NumPy, jseg or images differ. Either the training must go on, with the curve of an undisturbed
one. Or a message must name the host and the reason, and every process on both hosts must have ended within
60 s; then the same command with `--resume auto` must end with that curve, bit for bit. Ends with

    12 faults on 2 hosts: 0 problems

and exit status 0, or says what differs, with status 1. `--only` runs those whose names contain a word.
"""

import argparse
import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fault_injection import END_SECONDS, TIMING  # first: it finds jseg uninstalled
from hosts import ROOT, Hosts, missing
from several_hosts import Cluster, logged, read

from jseg.drawn import write_dataset
from jseg.runtime.processes import running

VICTIM = 1  # the second host
ITERATIONS = 24
START = 4  # iterations before the fault
SECONDS = 600.0  # for a training
NUMPY = "1.26.3"
AGAIN_SECONDS = 20.0  # within which processes that were stopped have to end once they go on


class Job:
    """A training on two hosts, and what a fault needs to know of it.

    Attributes:
        arguments: of the program.
    """

    def __init__(self, cluster: Cluster, name: str) -> None:
        self.cluster, self.hosts = cluster, cluster.hosts
        self.victim = self.hosts.hosts[VICTIM]
        self.work_dir = self.hosts.shared / re.sub(r"\W+", "_", name)
        self.output = self.hosts.folder / f"{self.work_dir.name}.log"
        self.arguments: list[str] = ["--resume", "auto"]

    def start(self) -> subprocess.Popen:
        command = self.cluster.command(2, 1, self.work_dir, *self.arguments)
        paths = [self.hosts.disk / "packages", ROOT, Path(__file__).parent]
        environment = {
            **self.hosts.environment(),
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "OMP_NUM_THREADS": "1",
        }
        with self.output.open("a") as output:
            return self.hosts.start(
                command,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def on_victim(self, *command: str) -> None:
        """Runs a command on the second host."""
        if self.hosts.start(command, VICTIM).wait():
            raise RuntimeError(f"{' '.join(command)} failed")

    def left(self, but: int | None = None) -> list[str]:
        """Hosts with processes, except host number `but`."""
        return [
            host.name
            for number, host in enumerate(self.hosts.hosts)
            if number != but and any(running(pid) for pid in host.processes())
        ]


@dataclass
class Fault:
    """A fault, and its expected end.

    Attributes:
        steps: called with the job. Prepares; yields; injects the fault in the middle of the training; yields;
            repairs. Without a second `yield`, the fault is there from the start.
        message: a regular expression; {host} is the name of the second host. "": the training goes on.
        midway: whether there is something to be done in the middle.
        stopped: whether the processes of the second host can only end once the fault is repaired.
        logs: whether there is a curve to compare.
    """

    name: str
    steps: Callable[[Job], Iterator[None]]
    message: str = ""
    midway: bool = True
    stopped: bool = False
    logs: bool = True


def cable_cut(job: Job) -> Iterator[None]:
    job.hosts.limit(VICTIM, "100mbit")
    yield
    job.hosts.cable(VICTIM, False)
    yield
    job.hosts.cable(VICTIM, True)
    job.hosts.limit(VICTIM, "")


def cable_out(job: Job) -> Iterator[None]:
    yield
    job.hosts.cable(VICTIM, False)
    time.sleep(10.0)
    job.hosts.cable(VICTIM, True)


def processes_killed(job: Job) -> Iterator[None]:
    job.hosts.limit(VICTIM, "100mbit")
    yield
    job.victim.kill()
    yield
    job.hosts.limit(VICTIM, "")


def power_failure(job: Job) -> Iterator[None]:
    job.hosts.limit(VICTIM, "100mbit")
    yield
    job.hosts.cable(VICTIM, False)  # first: its kernel sends no farewell
    for pid in job.victim.processes():
        # `sh` is here what `ssh` on the first host would be, which waits for a host that says nothing.
        login = Path(f"/proc/{pid}/comm").read_text() == "sh\n"
        os.kill(pid, signal.SIGSTOP if login else signal.SIGKILL)
    yield
    job.hosts.cable(VICTIM, True)
    job.hosts.limit(VICTIM, "")


def hang(job: Job) -> Iterator[None]:
    job.hosts.limit(VICTIM, "100mbit")
    yield
    signalled(job, signal.SIGSTOP)
    yield
    signalled(job, signal.SIGCONT)
    job.hosts.limit(VICTIM, "")


def signalled(job: Job, number: signal.Signals) -> None:
    for pid in job.victim.processes():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def bad_network(job: Job) -> Iterator[None]:
    with job.hosts.disturbed(VICTIM, loss=0.05, delay=0.05):
        yield


def slow_network(job: Job) -> Iterator[None]:
    job.hosts.limit(VICTIM, "100mbit")
    yield
    job.hosts.limit(VICTIM, "")


def other_clock(job: Job) -> Iterator[None]:
    """Its Pythons start again with a library that shifts the clock; the log tells whether they did."""
    disk = job.victim.folder / "disk"
    library, packages = disk / "other_clock.so", disk / "packages"
    source = Path(__file__).with_name("other_clock.cpp")
    subprocess.run(["g++", "-O2", "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    packages.mkdir(exist_ok=True)
    seen = job.hosts.disk / "other_clock.so"
    (packages / "sitecustomize.py").write_text(
        f"import os, sys, time\nif 'LD_PRELOAD' not in os.environ:\n"
        f"    os.environ['LD_PRELOAD'] = {str(seen)!r}\n    os.execv(sys.executable, sys.orig_argv)\n"
        f"print('clock of {job.victim.name}:', round(time.time()), file=sys.stderr, flush=True)\n"
    )
    yield
    hours = [
        int(second) - time.time() for second in re.findall(r"clock of \S+: (\d+)", job.output.read_text())
    ]
    if not any(3000 < each < 3700 for each in hours):
        raise RuntimeError(f"the clock was not shifted, see {job.output}")
    shutil.rmtree(packages)


def full_disk(job: Job) -> Iterator[None]:
    """An evaluation, whose masks every host writes on its own disk."""
    checkpoint = str(job.hosts.shared / "undisturbed" / "checkpoints" / f"iter_{ITERATIONS}.safetensors")
    job.work_dir = job.hosts.disk / "run"
    job.arguments = ["--task", "val", "--save-predictions", "--checkpoint", checkpoint]
    job.on_victim("mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", str(job.hosts.disk))
    yield
    job.on_victim("umount", str(job.hosts.disk))


def other_numpy(job: Job) -> Iterator[None]:
    folder = job.victim.folder / "disk" / "packages"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", f"numpy=={NUMPY}"]
    subprocess.run([*install, "--target", str(folder)], check=True)
    yield
    shutil.rmtree(folder)


def other_jseg(job: Job) -> Iterator[None]:
    copy = job.hosts.disk / "jseg"
    shutil.copytree(ROOT / "jseg", job.victim.folder / "disk" / "jseg")
    changed = job.victim.folder / "disk" / "jseg" / "optim" / "adamw.py"
    changed.write_text(changed.read_text() + "# an older line\n")
    job.on_victim("mount", "--bind", str(copy), str(ROOT / "jseg"))
    yield
    job.on_victim("umount", str(ROOT / "jseg"))


def other_image(job: Job) -> Iterator[None]:
    """An image of the same name and size, but other contents."""
    for host in job.hosts.hosts:
        shutil.copytree(job.hosts.shared / "data", host.folder / "disk" / "data", dirs_exist_ok=True)
    image = job.victim.folder / "disk" / "data" / "JPEGImages" / "train_00005.png"
    content = image.read_bytes()
    image.write_bytes(content[:-20] + bytes([content[-20] ^ 1]) + content[-19:])
    job.arguments += ["--set", f"data_root={job.hosts.disk / 'data'}"]
    yield
    image.write_bytes(content)


SILENT = r"error: [^\n]*{host} \(rank 1\) has been silent"
FAULTS = (
    Fault("cable cut", cable_cut, SILENT),
    Fault("power failure", power_failure, SILENT),
    Fault("hang", hang, SILENT, stopped=True),
    Fault("processes killed", processes_killed, r"error: [^\n]*{host} \(rank 1\) has closed its connection"),
    Fault("cable out for 10 s", cable_out),
    Fault("loss of 5 %, 50 ms", bad_network, midway=False),
    Fault("100 Mbit/s", slow_network, midway=False),
    Fault("clocks an hour apart", other_clock, midway=False),
    Fault("full disk", full_disk, r"error: [^\n]*\.png: No space [^\n]*rank 1 on {host}", False, logs=False),
    Fault("other NumPy", other_numpy, r"error: rank 1 on {host} [^\n]*version of numpy \(1\.26\.3 in", False),
    Fault("other jseg", other_jseg, r"error: rank 1 on {host} [^\n]*optim/adamw\.py", False),
    Fault("other image", other_image, r"error: rank 1 on {host} [^\n]*train_00005\.png", False),
)


def prepare(cluster: Cluster) -> None:
    """Data, and a config of a few seconds, in the folder that all hosts share."""
    shared = cluster.hosts.shared
    counts = dict(train=24, val=6, test=1)
    write_dataset("zeroshapes", shared / "data", counts=counts, seed=0, size=64)
    bases = [str(ROOT / "configs" / "_base_" / name) for name in ("datasets/zeroshapes.py", "schedule.py")]
    cluster.config.write_text(
        f"_base_ = {bases!r}\nimports = ['tiny']\nmodel = dict(type='TestRanksModel', ballast={1 << 20})\n"
        f"data_root = {str(shared / 'data')!r}\nmax_iters = {ITERATIONS}\nbatch_size = 4\nlog_interval = 1\n"
        "checkpoint_interval = 2\neval_interval = None\nvisualize = dict(num_images=0)\n"
        "optimizer = dict(_delete_=True, type='AdamW', lr=0.02)\nscheduler = dict(warmup_iters=0)\n"
    )


def curve(work_dir: Path) -> list[dict[str, Any]]:
    """log.jsonl without times."""
    rows = read(work_dir / "log.jsonl")
    return [{key: value for key, value in row.items() if key not in TIMING} for row in rows]


def suffer(cluster: Cluster, fault: Fault, expected: Sequence[dict[str, Any]]) -> list[str]:
    """Runs a training with a fault and resumes it. Prints a row of the table, and returns the problems."""
    job, problems = Job(cluster, fault.name), []

    def check(right: bool, what: str) -> None:
        if not right:
            problems.append(f"{fault.name}: {what}, see {job.output}")

    steps = fault.steps(job)
    next(steps)
    process = job.start()
    if fault.midway:
        wait(SECONDS, lambda: process.poll() is not None or logged(job.work_dir) >= START)
    start = time.monotonic()
    if fault.midway:
        next(steps, None)
    but = VICTIM if fault.stopped else None
    wait(END_SECONDS if fault.message and fault.midway else SECONDS, lambda: over(process, job, but))
    took, left = time.monotonic() - start, job.left(but)
    check(process.poll() is not None and not left, f"processes are left on {left}")
    next(steps, None)
    wait(AGAIN_SECONDS, lambda: not job.left())
    check(not job.left(), f"processes are left on {job.left()} after the repair")
    for host in cluster.hosts.hosts:
        host.kill()
    status = process.wait()
    message = re.search(fault.message.format(host=re.escape(job.victim.name)), job.output.read_text())
    said = job.output.read_text()[message.start() :].split("\n")[0] if fault.message and message else ""
    check(bool(status) == bool(fault.message), f"exit status {status}")
    check(message is not None, f"no message like {fault.message}")
    shown = status if status >= 0 else 128 - status  # as in a shell
    print(f"| {fault.name} | {took:.0f} s | {shown} | {said or 'goes on'} |", flush=True)
    if fault.message:
        before = logged(job.work_dir)
        check(not (fault.midway and before == ITERATIONS), "the training had ended before the fault")
        check(job.start().wait(SECONDS) == 0, "the same command failed after the repair")
    if fault.logs:
        check(curve(job.work_dir) == expected, "another curve than undisturbed")
    return problems


def over(process: subprocess.Popen, job: Job, but: int | None) -> bool:
    return process.poll() is not None and not job.left(but)


def wait(seconds: float, condition: Callable[[], bool]) -> None:
    """Waits until a condition holds, or for this long."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.1)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs all faults, and returns 0 if each ended as expected."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="new folder for the hosts and outputs")
    parser.add_argument(
        "--only", nargs="+", default=[""], help="words in the names of the faults to be tried"
    )
    options = parser.parse_args(argv)
    faults = [fault for fault in FAULTS if any(word in fault.name for word in options.only)]
    reason = missing() or (f"{options.out} exists; name a new folder" if options.out.exists() else "")
    if reason:
        parser.error(reason)
    with Hosts(options.out, 2) as hosts:
        cluster = Cluster(hosts)
        prepare(cluster)
        undisturbed = Job(cluster, "undisturbed")
        problems = []
        if undisturbed.start().wait(SECONDS):
            problems.append(f"the undisturbed training failed, see {undisturbed.output}")
        else:
            expected = curve(undisturbed.work_dir)
            print("| fault | ended after | exit status | message |\n|---|---:|---:|---|", flush=True)
            for fault in faults:
                problems += suffer(cluster, fault, expected)
    for problem in problems:
        print(f"problem: {problem}")
    print(f"{len(faults)} faults on 2 hosts: {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
