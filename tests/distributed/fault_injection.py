"""Kills real `mpirun` trainings on ZeroShapes at random moments,
resumes them, and compares with unbroken ones.

    python tests/distributed/fault_injection.py --kills 40 --ranks 1 2 4 --out /tmp/faults

Kinds of faults: SIGKILL of one rank or of mpirun at a random moment, SIGKILL while a checkpoint is being
written, SIGTERM and SIGUSR1 to mpirun (which the run answers with a checkpoint), SIGSTOP of one rank (a
hang). After each: every process must be gone within 60 s, every checkpoint file must have its SHA-256, and
none that was reported as saved may be missing. The same command with `--resume auto` goes on. At the end the
loss curve (log.jsonl without times) and the last checkpoint must equal those of an unbroken run with as many
ranks, bit for bit. A last training goes on with another number of ranks after each fault: its losses must be
within a relative 1e-3, for sums are taken in another order. Ends with

    lost: 0 checkpoints, curves equal

and exit status 0, or says what differs, with status 1.
"""

import argparse
import json
import os
import random
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
sys.path.insert(0, str(ROOT))

import numpy as np

from jseg.checkpoints import load_arrays
from jseg.drawn import write_dataset

MPIRUN = Path(sys.prefix) / "bin" / "mpirun"
WITHOUT_MPIRUN = (
    "Open MPI is not installed in this environment"
    if not MPIRUN.is_file()
    else ""
    if shutil.which("ssh") or shutil.which("rsh")
    else "mpirun does not start without ssh: apt-get install openssh-client"
)
SIGNAL_OF = {
    "kill rank": signal.SIGKILL,
    "kill save": signal.SIGKILL,
    "kill mpirun": signal.SIGKILL,
    "SIGTERM to mpirun": signal.SIGTERM,
    "SIGUSR1 to mpirun": signal.SIGUSR1,
    "stop rank": signal.SIGSTOP,
}
# The first two twice as often; the last one needs several ranks.
KINDS = (
    "kill rank",
    "kill save",
    *SIGNAL_OF,
)
TIMING = ("seconds", "data_seconds", "eta_seconds", "memory_mb", "gpu_memory_mb")
END_SECONDS = 60.0  # within which everything must have ended
WATCHDOG_SECONDS = 15
GRACE_SECONDS = 3  # between mpirun's SIGTERM and SIGKILL
MIXED_TOLERANCE = 1e-3  # of a loss, relative
MARK = "JSEG_FAULT_INJECTION"


class Trial:
    """A training in its own work folder. Start k has `ranks[k % len(ranks)]` ranks."""

    def __init__(self, options: argparse.Namespace, ranks: Sequence[int], name: str) -> None:
        self.options, self.all_ranks, self.ranks = options, tuple(ranks), ranks[0]
        self.work_dir = options.out / f"{name}_{'_'.join(map(str, ranks))}_ranks"
        self.output = self.work_dir.with_name(self.work_dir.name + ".log")
        shutil.rmtree(self.work_dir, ignore_errors=True)

    def start(self, number: int = 0) -> subprocess.Popen:
        """Starts or resumes the training."""
        options = self.options
        self.ranks = self.all_ranks[number % len(self.all_ranks)]
        command = [
            str(MPIRUN),
            "--allow-run-as-root",
            "--oversubscribe",
            "--bind-to",
            "none",
            "--mca",
            "odls_base_sigkill_timeout",
            str(GRACE_SECONDS),
            "-n",
            str(self.ranks),
            sys.executable,
            str(ROOT / "tools" / "run_net.py"),
            "--config",
            str(options.config),
            "--work-dir",
            str(self.work_dir),
            "--resume",
            "auto",
        ]
        kept = {
            key: value
            for key, value in os.environ.items()
            if key != "use_mpi" and not key.startswith("OMPI_")
        }
        self.mark = f"{os.getpid()}.{self.work_dir.name}.{number}"
        environment = {**kept, "OMP_NUM_THREADS": "1", MARK: self.mark, "PYTHONPATH": str(ROOT)}
        with self.output.open("ab") as output:
            output.write(f"--- start {number}\n".encode())
            return subprocess.Popen(
                command,
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=options.out,
            )

    def processes(self) -> dict[int, int | None]:
        """Running processes of the run -> rank, None for mpirun and helpers."""
        found: dict[int, int | None] = {}
        for entry in (path.name for path in Path("/proc").iterdir()):
            try:
                environment = Path("/proc", entry, "environ").read_bytes().split(b"\0")
                command = Path("/proc", entry, "cmdline").read_bytes()
                state = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                continue
            if f"{MARK}={self.mark}".encode() in environment and state != "Z":
                numbers = [item for item in environment if item.startswith(b"OMPI_COMM_WORLD_RANK=")]
                is_rank = numbers and b"run_net.py" in command and b"mpirun" not in command
                found[int(entry)] = int(numbers[0].split(b"=")[1]) if is_rank else None
        return found

    def logged(self) -> int:
        """The last iteration in log.jsonl, 0 without one."""
        try:
            lines = (self.work_dir / "log.jsonl").read_text().splitlines()
            return json.loads(lines[-1])["iter"] if lines else 0
        except (OSError, ValueError):
            return 0

    def reported(self) -> int:
        """The last iteration whose checkpoint was reported as saved."""
        try:
            saved = re.findall(r"\biter_(\d+)\.safetensors\b(?!\.)", (self.work_dir / "log.txt").read_text())
        except OSError:
            return 0
        return max((int(iteration) for iteration in saved), default=0)

    def complete(self) -> list[int]:
        """Iterations with an undamaged checkpoint; a damaged one raises."""
        files = list((self.work_dir / "checkpoints").glob("iter_*.safetensors"))
        for file in files:
            load_arrays(file)
        return sorted(int(file.stem[5:]) for file in files)

    def writing(self) -> bool:
        """Whether a checkpoint is being written right now."""
        try:
            return any(self.work_dir.glob("checkpoints/.iter_*"))
        except OSError:
            return False

    def curve(self) -> list[dict[str, Any]]:
        """log.jsonl without times."""
        records = [json.loads(line) for line in (self.work_dir / "log.jsonl").read_text().splitlines()]
        return [{key: value for key, value in record.items() if key not in TIMING} for record in records]


def write_config(options: argparse.Namespace) -> None:
    """A schedule of a few seconds on 24 images, with a checkpoint every other iteration."""
    if not (options.out / "data").exists():
        write_dataset(
            "zeroshapes", options.out / "data", counts=dict(train=24, val=2, test=1), seed=0, size=64
        )
    options.config = options.out / "faults.py"
    options.config.write_text(
        f"_base_ = {str(ROOT / 'configs' / 'clip_rc' / 'zeroshapes_inductive.py')!r}\n"
        f"data_root = {str(options.out / 'data')!r}\nmax_iters = {options.iterations}\nbatch_size = 4\n"
        "log_interval = 3\ncheckpoint_interval = 2\neval_interval = None\nvisualize = dict(num_images=0)\n"
        f"keep_checkpoints = 2\nwatchdog_seconds = {WATCHDOG_SECONDS}\n"
        "scheduler = dict(warmup_iters=4)\n"
    )


def wait_for_end(trial: Trial, process: subprocess.Popen) -> tuple[float, bool]:
    """Seconds until every process of the run has gone, and
    whether they went by themselves within a minute."""
    start = time.monotonic()
    process_left = True
    while process_left and time.monotonic() - start < END_SECONDS:
        process_left = process.poll() is None or bool(trial.processes())
        time.sleep(0.05)
    took = time.monotonic() - start
    for pid in trial.processes():
        os.kill(pid, signal.SIGKILL)
    process.wait()
    return took, not process_left


def injure(trial: Trial, process: subprocess.Popen, kind: str, rng: random.Random) -> str | None:
    """Waits for a random time and injects a fault. Returns its description, or None if the run had already
    ended."""
    goal = trial.logged() + rng.randint(0, 2)
    # Sometimes while it starts. Not a hang: the watcher that would notice begins once Jittor is loaded.
    early = rng.random() < 0.15 and kind != "stop rank"
    deadline = time.monotonic() + rng.uniform(1.0, 8.0) if early else float("inf")
    while process.poll() is None and trial.logged() <= goal and time.monotonic() < deadline:
        time.sleep(0.01)
    if not early:
        time.sleep(rng.uniform(0.0, 0.5))
    ranks = {pid: number for pid, number in trial.processes().items() if number is not None}
    if process.poll() is not None or not ranks:
        return None
    victim = min(ranks, key=lambda pid: ranks[pid]) if kind == "kill save" else rng.choice(sorted(ranks))
    number, to_rank = SIGNAL_OF[kind], "mpirun" not in kind
    try:
        if kind == "kill save" and not early:
            catch_writing(trial, process, victim)
        saving = " while a checkpoint was being written" if not early and trial.writing() else ""
        os.kill(victim if to_rank else process.pid, number)
    except ProcessLookupError:
        return None
    return f"{number.name} to {f'rank {ranks[victim]}' if to_rank else 'mpirun'}{saving}"


def catch_writing(trial: Trial, process: subprocess.Popen, rank_0: int) -> None:
    """Stops the main rank again and again for a moment, until
    that is in the middle of writing a checkpoint."""
    missed = time.monotonic() + 10.0
    while process.poll() is None and time.monotonic() < missed:
        os.kill(rank_0, signal.SIGSTOP)
        time.sleep(0.0005)
        if trial.writing():
            return
        os.kill(rank_0, signal.SIGCONT)
        time.sleep(0.001)


def break_and_resume(trial: Trial, kills: int, rng: random.Random, problems: list[str]) -> dict[str, float]:
    """One training with faults until `kills` is used up or it has finished. Returns numbers for the
    report."""
    figures = {"kills": 0, "while saving": 0, "slowest end": 0.0}
    number = 0
    while True:
        process = trial.start(number)
        number += 1
        done = None
        if figures["kills"] < kills:
            kind = rng.choice(KINDS if trial.ranks > 1 else KINDS[:-1])
            done = injure(trial, process, kind, rng)
        if done is None:
            if process.wait():
                problems.append(
                    f"{trial.work_dir.name}: start {number - 1} ended with status {process.returncode}, "
                    f"see {trial.output}"
                )
            return figures
        took, gone = wait_for_end(trial, process)
        if process.returncode == 0:
            return figures  # it had finished just before
        reported, complete = trial.reported(), trial.complete()
        figures["kills"] += 1
        figures["while saving"] += "being written" in done
        figures["slowest end"] = max(figures["slowest end"], took)
        print(
            f"{trial.ranks} ranks, kill {figures['kills']}: {done} after iteration {trial.logged()}; all "
            "ended in "
            f"{took:.1f} s with status {process.returncode}; checkpoints {complete}",
            flush=True,
        )
        if not gone:
            problems.append(f"{trial.work_dir.name}: processes were left {END_SECONDS:.0f} s after {done}")
        if reported and (not complete or complete[-1] < reported):
            problems.append(f"{trial.work_dir.name}: lost checkpoint {reported} after {done}")


def compare(broken: Trial, unbroken: Trial, problems: list[str]) -> None:
    """Curves and last checkpoints, bit for bit."""
    if broken.curve() != unbroken.curve():
        problems.append(f"{broken.work_dir.name}: log.jsonl differs from {unbroken.work_dir.name}")
    last = f"checkpoints/iter_{broken.options.iterations}.safetensors"
    ours, theirs = (load_arrays(trial.work_dir / last)[0] for trial in (broken, unbroken))
    for name, array in theirs.items():
        if not np.array_equal(ours[name], array):
            problems.append(f"{broken.work_dir.name}: {name} of the last checkpoint differs")
            return


def distance(trial: Trial, other: Trial) -> float:
    """The largest relative difference between the losses of two curves."""
    ours, theirs = trial.curve(), other.curve()
    if [record["iter"] for record in ours] != [record["iter"] for record in theirs]:
        return float("inf")
    return max(abs(a["total"] - b["total"]) / abs(b["total"]) for a, b in zip(ours, theirs))


def break_trainings(
    options: argparse.Namespace, rng: random.Random, problems: list[str]
) -> tuple[dict[int, Trial], dict[str, float]]:
    """Trainings with each number of ranks in turn until all kills
    are used up; the unbroken ones, and figures."""
    unbroken: dict[int, Trial] = {}
    total = {"kills": 0, "while saving": 0, "slowest end": 0.0, "trainings": 0}
    while total["kills"] < options.kills and not problems:
        attempt = total["trainings"]
        ranks = options.ranks[attempt % len(options.ranks)]
        if ranks not in unbroken:
            unbroken[ranks] = Trial(options, [ranks], "unbroken")
            break_and_resume(unbroken[ranks], 0, rng, problems)
        broken = Trial(options, [ranks], f"broken{attempt}")
        share = -(-(options.kills - total["kills"]) // max(1, len(options.ranks) - attempt))
        figures = break_and_resume(broken, share, rng, problems)
        if not problems:
            compare(broken, unbroken[ranks], problems)
        total["kills"] += figures["kills"]
        total["while saving"] += figures["while saving"]
        total["slowest end"] = max(total["slowest end"], figures["slowest end"])
        total["trainings"] += 1
    return unbroken, total


def change_ranks(
    options: argparse.Namespace, rng: random.Random, unbroken: Trial, problems: list[str]
) -> None:
    """A training that is resumed with another number of ranks after each fault."""
    mixed = Trial(options, options.ranks, "mixed")
    figures = break_and_resume(mixed, len(options.ranks) + 1, rng, problems)
    difference = float("inf") if problems else distance(mixed, unbroken)
    print(
        f"{figures['kills']} kills, each time another number of ranks: largest relative difference of a loss "
        f"{difference:.1e}"
    )
    if difference > MIXED_TOLERANCE:
        problems.append("going on with another number of ranks changed the losses")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs all trials, and returns 0 if nothing was lost and all curves are equal."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=40)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--iterations", type=int, default=24)
    parser.add_argument("--out", type=Path, required=True, help="folder for data, work folders and outputs")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(argv)
    options.out = options.out.resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    write_config(options)
    rng = random.Random(options.seed)
    problems: list[str] = []
    unbroken, total = break_trainings(options, rng, problems)
    first = unbroken[options.ranks[0]]
    if len(options.ranks) > 1 and not problems:
        change_ranks(options, rng, first, problems)
    if not problems:
        for ranks, trial in unbroken.items():
            print(
                f"unbroken, {ranks} ranks against {first.ranks}: largest relative difference of a loss "
                f"{distance(trial, first):.1e}"
            )
    print(
        f"{total['kills']} kills in {total['trainings']} trainings, {total['while saving']} while a "
        "checkpoint "
        f"was being written; slowest end of all processes {total['slowest end']:.1f} s"
    )
    for problem in problems:
        print(f"problem: {problem}")
    lost = sum("lost checkpoint" in problem for problem in problems)
    print(f"lost: {lost} checkpoints, curves {'equal' if not problems else 'not shown to be equal'}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
