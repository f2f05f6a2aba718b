"""Compares training and evaluation on several hosts, with the commands of docs/distributed.md, with one
process.

    python tests/distributed/several_hosts.py --out /tmp/several_hosts

The hosts are those of hosts.py, which needs root. Tried are: 2 hosts of one and of two ranks and 4 hosts of
one, with a work folder that all share; an evaluation; a run that is stopped and goes on with other numbers of
hosts, twice; a work folder that each host has for itself; a list of images that differs on one host. Losses
must be those of one process within a relative 1e-3, for sums are taken in another order. An evaluation's
scores must be the same image by image, and no process may be left on any host. Ends with

    5 trials on up to 4 hosts: 0 problems

and exit status 0, or says what differs, with status 1.
"""

import argparse
import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]

from hosts import Hosts, missing

from jseg.drawn import write_dataset

TOLERANCE = 1e-3  # of a loss, relative
SECONDS = 600.0  # for one command: the first of a host may compile
ITERATIONS = 16
VAL_PICTURES = 6
PROGRAM = ("python", str(ROOT / "tools" / "run_net.py"))


class Cluster:
    """Runs the training program on some of the hosts, and checks its output.

    Attributes:
        problems: what was not as it must be.
    """

    def __init__(self, hosts: Hosts) -> None:
        self.hosts, self.problems = hosts, []
        self.config = hosts.shared / "config.py"

    def command(self, count: int, slots: int, work_dir: Path, *arguments: str) -> list[str]:
        """The command of docs/distributed.md; without `mpirun` for a single process."""
        program = [*PROGRAM, "--config", str(self.config), "--work-dir", str(work_dir), *arguments]
        if count * slots == 1:
            return program
        hostfile = str(self.hosts.hostfile(count, slots))
        options = ["-n", str(count * slots), "--bind-to", "none", "-x", "PATH", "-x", "PYTHONPATH"]
        options += ["--mca", "btl_tcp_if_include", "eth0", "--mca", "oob_tcp_if_include", "eth0"]
        options += ["-x", "OMP_NUM_THREADS"]  # more ranks here than CPUs
        return ["mpirun", "--prefix", sys.prefix, "--hostfile", hostfile, *options, *program]

    def run(self, name: str, command: Sequence[str], status: int = 0, stop_after: int = 0) -> str:
        """Returns the output of the command. `stop_after`: send SIGUSR1 after this number of logged
        iterations."""
        log = self.hosts.folder / f"{name}.log"
        start = time.monotonic()
        with log.open("w") as output:
            process = self.hosts.start(
                command,
                env={**self.hosts.environment(), "OMP_NUM_THREADS": "1"},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        if stop_after:
            work_dir = Path(command[command.index("--work-dir") + 1])
            while process.poll() is None and logged(work_dir) < stop_after:
                time.sleep(0.02)
            process.send_signal(signal.SIGUSR1)
        try:
            process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self.check(False, f"{name} has not ended after {SECONDS:.0f} s")
        ended = time.monotonic()
        while any(host.processes() for host in self.hosts.hosts) and time.monotonic() < ended + 10.0:
            time.sleep(0.1)
        for host in self.hosts.hosts:
            self.check(not host.processes(), f"{name}: processes are left on {host.name}")
            host.kill()
        process.wait()
        self.check(process.returncode == status, f"{name}: exit status {process.returncode}, see {log}")
        print(f"{name}: {ended - start:.0f} s, exit status {process.returncode}", flush=True)
        return log.read_text()

    def check(self, right: bool, what: str) -> None:
        """Records `what` as a problem unless `right`."""
        if not right:
            self.problems.append(what)

    def compare(self, name: str, work_dir: Path, alone: Path) -> None:
        """The losses of two runs."""
        ours, theirs = (read(folder / "log.jsonl") for folder in (work_dir, alone))
        if [row["iter"] for row in ours] != [row["iter"] for row in theirs]:
            self.check(False, f"{name}: other iterations were logged than by one process")
            return
        difference = max(abs(a["total"] - b["total"]) / abs(b["total"]) for a, b in zip(ours, theirs))
        print(f"    largest relative difference of a loss to one process: {difference:.1e}")
        self.check(difference <= TOLERANCE, f"{name}: a loss differs by {difference:.1e}")


def read(path: Path) -> list[dict[str, Any]]:
    """Records of a .jsonl file, none without one."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def logged(work_dir: Path) -> int:
    """The last iteration in the log, without one that is being written."""
    try:
        return max((row["iter"] for row in read(work_dir / "log.jsonl")), default=0)
    except ValueError:
        return 0


def prepare(cluster: Cluster) -> None:
    """Data, and a config of a few seconds, in the folder that all hosts share."""
    shared = cluster.hosts.shared
    if not (shared / "data").exists():
        write_dataset(
            "zeroshapes", shared / "data", counts=dict(train=24, val=VAL_PICTURES, test=1), seed=0, size=64
        )
    cluster.config.write_text(
        f"_base_ = {str(ROOT / 'configs' / 'clip_rc' / 'zeroshapes_inductive.py')!r}\n"
        f"data_root = {str(shared / 'data')!r}\nmax_iters = {ITERATIONS}\nbatch_size = 4\nlog_interval = 1\n"
        "checkpoint_interval = 4\neval_interval = 8\nvisualize = dict(num_images=0)\n"
        "scheduler = dict(warmup_iters=4)\n"
    )


def layouts(cluster: Cluster, alone: Path) -> None:
    """Trainings on 2 x 1, 2 x 2 and 4 x 1 ranks."""
    for count, slots in ((2, 1), (2, 2), (4, 1)):
        name = f"training on {count} hosts of {slots}"
        work_dir = cluster.hosts.shared / f"{count}x{slots}"
        cluster.run(name, cluster.command(count, slots, work_dir))
        cluster.compare(name, work_dir, alone)
        evaluated = [row["iter"] for row in read(work_dir / "eval.jsonl")]
        cluster.check(evaluated == [8, ITERATIONS], f"{name}: evaluated after {evaluated}")
        cluster.check((work_dir / "checkpoints" / "best").exists(), f"{name}: no best checkpoint")


def evaluation(cluster: Cluster, alone: Path) -> None:
    """The scores of every image, by ranks on two hosts and by one process, of the same checkpoint."""
    checkpoint = str(alone / "checkpoints" / f"iter_{ITERATIONS}.safetensors")
    arguments = ("--task", "val", "--per-image", "--checkpoint", checkpoint)
    folders = [cluster.hosts.shared / name for name in ("val_1", "val_4")]
    cluster.run("evaluation by one process", cluster.command(1, 1, folders[0], *arguments))
    cluster.run("evaluation on 2 hosts of 2", cluster.command(2, 2, folders[1], *arguments))
    one, four = (read(folder / "per_image.jsonl") for folder in folders)
    cluster.check(len(one) == VAL_PICTURES and one == four, "evaluation: scores differ from one process")


def other_numbers(cluster: Cluster, alone: Path) -> None:
    """A training that is stopped, and resumed with other numbers of hosts."""
    work_dir = cluster.hosts.shared / "stopped"
    for number, (count, slots, stop_after) in enumerate(((2, 1, 3), (4, 1, 10), (2, 2, 0))):
        command = cluster.command(count, slots, work_dir, "--resume", "auto")
        name = f"start {number} on {count} hosts of {slots}"
        cluster.run(name, command, 138 if stop_after else 0, stop_after)
    cluster.compare("stopped", work_dir, alone)


def own_folders(cluster: Cluster, alone: Path) -> None:
    """Local work folders: rank 0 has log and checkpoints, and each host its own masks."""
    work_dir = cluster.hosts.disk / "run"
    name = "work folder of each host"
    cluster.run(name, cluster.command(2, 1, work_dir))
    cluster.run(f"{name}, val", cluster.command(2, 1, work_dir, "--task", "val", "--save-predictions"))
    first, second = (host.folder / "disk" / "run" for host in cluster.hosts.hosts[:2])
    cluster.compare(name, first, alone)
    cluster.check(not (second / "log.jsonl").exists(), f"{name}: rank 1 wrote a log")
    masks = [{path.name for path in folder.glob("val_predictions/*.png")} for folder in (first, second)]
    print(f"    masks: {', '.join(str(len(names)) for names in masks)}")
    cluster.check(len(masks[0] | masks[1]) == VAL_PICTURES and all(masks), f"{name}: masks are missing")


def other_data(cluster: Cluster) -> None:
    """A host whose list of training images lacks an image, which is detected before the first step."""
    hosts = cluster.hosts.hosts[:2]
    for host in hosts:
        data = host.folder / "disk" / "data"
        shutil.rmtree(data, ignore_errors=True)
        shutil.copytree(cluster.hosts.shared / "data", data)
    lists = [path for path in data.rglob("*.txt") if path.stem == "train"]
    for path in lists:
        path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    work_dir = cluster.hosts.shared / "other_data"
    data_root = f"data_root={cluster.hosts.disk / 'data'}"
    output = cluster.run("other data", cluster.command(2, 1, work_dir, "--set", data_root), status=2)
    message = re.search(r"error: .*training images.*", output)
    print(f"    {message and message[0]}")
    cluster.check(bool(message) and hosts[1].name in message[0], f"other data: {hosts[1].name} is not named")
    cluster.check(logged(work_dir) == 0, "other data: a step was made")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs all trials, and returns 0 if each ended as expected."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="new folder for the hosts and outputs")
    options = parser.parse_args(argv)
    reason = missing() or (f"{options.out} exists; name a new folder" if options.out.exists() else "")
    if reason:
        parser.error(reason)
    with Hosts(options.out, 4) as hosts:
        cluster = Cluster(hosts)
        prepare(cluster)
        alone = hosts.shared / "alone"
        cluster.run("training by one process", cluster.command(1, 1, alone))
        for trial in (layouts, evaluation, other_numbers, own_folders):
            trial(cluster, alone)
        other_data(cluster)
    for problem in cluster.problems:
        print(f"problem: {problem}")
    print(f"5 trials on up to 4 hosts: {len(cluster.problems)} problems")
    return 1 if cluster.problems else 0


if __name__ == "__main__":
    sys.exit(main())
