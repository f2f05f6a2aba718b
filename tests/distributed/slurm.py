"""Runs the batch script of the documentation on a SLURM cluster of two nodes on this machine.

    python tests/distributed/slurm.py --out /tmp/slurm

The nodes are the hosts of hosts.py, which needs root, each with a `slurmd`; the first has `slurmctld`.
`apt-get install --no-install-recommends slurm-wlm munge libpmix2 libpmix-dev` installs what is needed. A
small training must reach the curve of an undisturbed job on two nodes, bit for bit, when

- nothing happens; its time limit comes; a node fails and comes back: it goes on by itself;
- it is cancelled: it goes on when the script is submitted again;
- `srun --mpi=pmix` starts the ranks, if SLURM has it.

After each, no process of the job may be left on any node. Ends with

    5 trials on slurm-wlm VERSION: 0 problems

and exit status 0, or says what differs, with status 1.
"""

import argparse
import contextlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from fault_on_hosts import ITERATIONS, curve, prepare, wait  # first: it finds jseg uninstalled
from hosts import ROOT, Hosts, missing
from several_hosts import Cluster, logged

DAEMONS = ("munged", "slurmctld", "slurmd")
PAGE = ROOT / "docs" / "clusters.md"
SLOW = "5mbit"  # about 14 s for an iteration
STEPS = 3  # before something happens
SECONDS = 600.0  # for a job, with the time that SLURM waits before it starts one again
SETTINGS = """\
ClusterName=jseg
SlurmctldHost={first.name}({first.address})
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=15
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/%n.spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SlurmdParameters=config_overrides
MpiDefault=none
MailProg=/bin/true
ReturnToService=2
SlurmdTimeout=15
KillWait=20
PartitionName=all Nodes=ALL Default=YES State=UP
"""


class Slurm:
    """A SLURM cluster on hosts, until `stop`.

    Attributes:
        problems: what was not as it must be.
    """

    def __init__(self, hosts: Hosts, cluster: Cluster) -> None:
        self.hosts, self.cluster = hosts, cluster
        self.folder = hosts.folder / "slurm"
        self.problems: list[str] = []
        self._daemons: list[subprocess.Popen] = []
        self._stack = contextlib.ExitStack()
        for path in ("state", *(f"{host.name}.spool" for host in hosts.hosts)):
            (self.folder / path).mkdir(parents=True)
        lines = [f"NodeName={host.name} NodeAddr={host.address} CPUs=4\n" for host in hosts.hosts]
        settings = SETTINGS.format(first=hosts.hosts[0], folder=self.folder)
        (self.folder / "slurm.conf").write_text(settings + "".join(lines))

    def __enter__(self) -> "Slurm":
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o600)
        files = [f"--{name}-file={self.folder}/munge.{name}" for name in ("key", "log", "pid", "seed")]
        with self._stack:
            munged = ["munged", "--foreground", "--force", f"--socket={self.folder}/munge.socket", *files]
            self._stack.callback(end, subprocess.Popen(munged, stderr=subprocess.DEVNULL))
            wait(10.0, (self.folder / "munge.socket").exists)
            self._stack.callback(end, self.start("slurmctld", "-D"))
            for number in range(len(self.hosts.hosts)):
                self.start_node(number)
            self.check(self.idle(), f"the nodes are not idle: {self.output('sinfo', '-N', '-h')}")
            self._stack = self._stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def start(self, *command: str, host: int = 0, **options: object) -> subprocess.Popen:
        """Starts a command of SLURM on a node."""
        environment = {**self.hosts.environment(), "SLURM_CONF": str(self.folder / "slurm.conf")}
        # The batch script runs in the environment in which it is submitted.
        paths = os.pathsep.join((str(ROOT), str(Path(__file__).parent)))
        environment |= {"PYTHONPATH": paths, "OMPI_MCA_btl_tcp_if_include": "eth0"}
        del environment["OMPI_MCA_plm_rsh_agent"]
        with (self.folder / "output.log").open("a") as log:
            outputs = {"stdout": log, "stderr": log, **options}
            return self.hosts.start(command, host, env=environment, **outputs)

    def start_node(self, number: int) -> None:
        name = self.hosts.hosts[number].name
        self._stack.callback(end, self.start("slurmd", "-D", "-N", name, host=number))

    def output(self, *command: str) -> str:
        """What a command of SLURM prints."""
        process = self.start(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        return process.communicate(timeout=SECONDS)[0].strip()

    def idle(self) -> bool:
        """Waits for the nodes to be idle."""
        count = len(self.hosts.hosts)
        wait(60.0, lambda: self.output("sinfo", "-h", "-N", "-o", "%T").split() == ["idle"] * count)
        return self.output("sinfo", "-h", "-N", "-o", "%T").split() == ["idle"] * count

    def check(self, right: bool, what: str) -> None:
        """Records `what` as a problem unless `right`."""
        if not right:
            self.problems.append(what)

    def submit(self, work_dir: Path, *options: str) -> str:
        """Submits the script of the documentation; the number of the job."""
        config = work_dir.with_suffix(".py")
        config.write_text(f"_base_ = {str(self.cluster.config)!r}\nwork_dir = {str(work_dir)!r}\n")
        script = work_dir.with_suffix(".sh")
        text = re.search(r"```bash\n(#!/bin/bash\n#SBATCH.*?)```", PAGE.read_text(), re.DOTALL)[1]
        program = f"{ROOT / 'tools' / 'run_net.py'} --config {config}"
        script.write_text(text.replace("tools/run_net.py --config …", program))
        small = ["--ntasks-per-node=1", "--cpus-per-task=1", "--gpus-per-node=0", "--nodes=2", "--time=10"]
        output = ["--parsable", f"--output={work_dir.with_suffix('.log')}"]
        answer = self.output("sbatch", *small, *output, *options, str(script))
        if not answer.isdigit():
            raise RuntimeError(f"sbatch: {answer}")
        return answer

    def state(self, job: str) -> str:
        """State of a job, e.g. RUNNING."""
        found = re.search(r"JobState=(\S+)", self.output("scontrol", "show", "job", job))
        return found[1] if found else "GONE"

    def log(self, work_dir: Path) -> str:
        """The output of a job."""
        path = work_dir.with_suffix(".log")
        return path.read_text() if path.exists() else ""

    def finish(self, job: str, expected: str) -> None:
        """Waits for the end of a job, and for that of all its processes."""
        ended = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "GONE")
        wait(SECONDS, lambda: self.state(job) in ended)
        state = self.state(job)
        self.check(state == expected, f"job {job} is {state}, not {expected}")
        wait(30.0, lambda: not self.left())
        self.check(not self.left(), f"job {job}: processes are left: {self.left()}")

    def left(self) -> list[str]:
        """Processes on the nodes that are not SLURM's."""
        found = []
        for host in self.hosts.hosts:
            for pid in host.processes():
                with contextlib.suppress(OSError):
                    name = Path(f"/proc/{pid}/comm").read_text().strip()
                    if not name.startswith(("slurm", "scontrol", "sinfo")):
                        found.append(f"{name} on {host.name}")
        return found


def end(process: subprocess.Popen) -> None:
    process.terminate()
    process.wait()


def completes(slurm: Slurm, work_dir: Path) -> None:
    """Nothing happens."""
    slurm.finish(slurm.submit(work_dir), "COMPLETED")


def time_limit(slurm: Slurm, work_dir: Path) -> None:
    """SIGUSR1 at the time that `--signal` gives; the script puts its job back into the queue."""
    slurm.hosts.limit(1, SLOW)
    # SLURM counts in minutes, and signals up to a minute early.
    job = slurm.submit(work_dir, "--time=4", "--signal=B:USR1@60")
    wait(SECONDS, lambda: "stopped by SIGUSR1" in slurm.log(work_dir))
    print(f"    after {logged(work_dir)} iterations: SIGUSR1, then {slurm.state(job)}", flush=True)
    slurm.hosts.limit(1, "")
    slurm.finish(job, "COMPLETED")
    slurm.check("resuming" in slurm.log(work_dir), f"{work_dir.name}: did not go on")


def cancelled(slurm: Slurm, work_dir: Path) -> None:
    """`scancel`; the training goes on when the script is submitted again."""
    slurm.hosts.limit(1, SLOW)
    job = slurm.submit(work_dir)
    wait(SECONDS, lambda: logged(work_dir) >= STEPS)
    slurm.output("scancel", job)
    slurm.finish(job, "CANCELLED")
    print(f"    after {logged(work_dir)} iterations: {slurm.state(job)}", flush=True)
    slurm.hosts.limit(1, "")
    slurm.finish(slurm.submit(work_dir), "COMPLETED")


def node_fails(slurm: Slurm, work_dir: Path) -> None:
    """The second node loses its network and all its processes, and comes back."""
    slurm.hosts.limit(1, SLOW)
    job = slurm.submit(work_dir)
    wait(SECONDS, lambda: logged(work_dir) >= STEPS)
    start = time.monotonic()
    slurm.hosts.cable(1, False)
    slurm.hosts.hosts[1].kill()
    wait(SECONDS, lambda: slurm.state(job) != "RUNNING" and not slurm.left())
    after = time.monotonic() - start
    print(f"    after {logged(work_dir)} iterations and {after:.0f} s: {slurm.state(job)}", flush=True)
    slurm.check(after < 90.0, f"{work_dir.name}: ended {after:.0f} s after the node failed")
    slurm.hosts.limit(1, "")
    slurm.hosts.cable(1, True)
    slurm.start_node(1)
    slurm.finish(job, "COMPLETED")


def ranks_by_srun(slurm: Slurm, work_dir: Path) -> None:
    """Whether `srun` can start ranks without `mpirun`; if SLURM has PMIx, it must train."""
    program = "from mpi4py import MPI; print(MPI.COMM_WORLD.rank, 'of', MPI.COMM_WORLD.size)"
    kinds = slurm.output("srun", "--mpi=list").split()
    print(f"    {' '.join(kinds)}")
    start = ["srun", "--quiet", "-N", "2", "--ntasks-per-node=1"]
    for kind in ("none", "pmi2", "pmix"):
        lines = slurm.output(*start, f"--mpi={kind}", sys.executable, "-c", program).splitlines()
        print(f"    srun --mpi={kind}: {'; '.join(lines[:4])[:300]}", flush=True)
    # What mpirun sets, and jseg and Jittor read before MPI starts.
    names = ("RANK=$SLURM_PROCID", "SIZE=$SLURM_NTASKS", "LOCAL_RANK=$SLURM_LOCALID", "LOCAL_SIZE=1")
    variables = " ".join(f"OMPI_COMM_WORLD_{name}" for name in names)
    command = (
        f"export {variables}; exec python {ROOT / 'tools' / 'run_net.py'} --config {slurm.cluster.config}"
    )
    output = slurm.output(*start, "--mpi=pmix", "sh", "-c", f"{command} --work-dir {work_dir}")
    work_dir.with_suffix(".log").write_text(output)
    same = curve(work_dir) == curve(slurm.hosts.shared / "completes")
    print(f"    training by srun --mpi=pmix: {'same curve' if same else output[-300:]}", flush=True)
    slurm.check(same or "pmix" not in kinds, f"{work_dir.name}: another curve")
    shutil.rmtree(work_dir, ignore_errors=True)


TRIALS = (completes, time_limit, cancelled, node_fails, ranks_by_srun)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs all trials, and returns 0 if each ended as expected."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="new folder for the hosts and outputs")
    parser.add_argument("--only", default="", help="part of the names of the trials, besides the first")
    options = parser.parse_args(argv)
    trials = [trial for trial in TRIALS if trial is completes or options.only in trial.__name__]
    absent = [name for name in DAEMONS if shutil.which(name) is None]
    reason = (
        f"{', '.join(absent)} not found; apt-get install slurm-wlm munge libpmix2 libpmix-dev"
        if absent
        else missing()
    )
    reason = reason or (f"{options.out} exists; name a new folder" if options.out.exists() else "")
    if reason:
        parser.error(reason)
    with Hosts(options.out, 2) as hosts:
        cluster = Cluster(hosts)
        prepare(cluster)
        with Slurm(hosts, cluster) as slurm:
            for trial in trials:
                work_dir = hosts.shared / trial.__name__
                print(f"{trial.__name__}:", flush=True)
                start = time.monotonic()
                trial(slurm, work_dir)
                print(f"    {time.monotonic() - start:.0f} s", flush=True)
                if work_dir.is_dir():
                    same = curve(work_dir) == curve(hosts.shared / "completes")
                    slurm.check(same and logged(work_dir) == ITERATIONS, f"{trial.__name__}: another curve")
            version = slurm.output("sinfo", "--version")
    for problem in slurm.problems:
        print(f"problem: {problem}")
    print(f"{len(trials)} trials on {version}: {len(slurm.problems)} problems")
    return 1 if slurm.problems else 0


if __name__ == "__main__":
    sys.exit(main())
