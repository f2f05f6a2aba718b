"""Every kind of fault but the kills of fault_injection.py, once
each, on real `mpirun` trainings with 2 ranks.

    python tests/distributed/fault_kinds.py --out /tmp/fault_kinds

SIGINT to one rank and to mpirun, an image that one rank alone cannot read, an unreadable image that may be
left out, a loss that is not finite, a checkpoint that finds no room, a checkpoint folder that cannot be
written, a data loading process that is killed. Each must end within 60 s with the documented exit status and
a message that names rank and reason, leave no process, and leave every checkpoint intact. Where the training
can go on, the same command with `--resume auto` must then end with the log.jsonl and the last checkpoint of
an unbroken run, bit for bit. Ends with

    8 faults on 2 ranks: every one named, nothing lost

and exit status 0, or says what differs, with status 1.
"""

import argparse
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from fault_injection import (  # first: it finds jseg uninstalled
    Trial,
    compare,
    wait_for_end,
    write_config,
)

from jseg.datasets import DataLoader

RANKS = 2
BATCH_SIZE = 2  # of each rank: `write_config` divides 4 among them
PICTURES = 24
ROOM = 64 * 1024  # bytes a file may have on a "full disk": enough for the logs, not for a checkpoint


def rank_of(trial: Trial, number: int, program: bytes = b"run_net.py") -> int:
    """The process of rank `number` that runs `program`."""
    for pid in trial.processes():
        environment = Path("/proc", str(pid), "environ").read_bytes().split(b"\0")
        command = Path("/proc", str(pid), "cmdline").read_bytes().split(b"\0")
        if (
            f"OMPI_COMM_WORLD_RANK={number}".encode() in environment
            and b"python" in command[0]
            and any(part.endswith(program) for part in command[1:4])
        ):
            return pid
    raise ProcessLookupError(f"rank {number} does not run {program.decode()}")


def interrupt_rank(trial: Trial, process: subprocess.Popen) -> None:
    os.kill(rank_of(trial, 1), signal.SIGINT)


def interrupt_mpirun(trial: Trial, process: subprocess.Popen) -> None:
    os.kill(process.pid, signal.SIGINT)


def fill_disk(trial: Trial, process: subprocess.Popen) -> None:
    """From now on a file of rank 0 may grow to `ROOM` only, which
    fails like a full disk: in the middle of a write."""
    pid = rank_of(trial, 0)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (ROOM, resource.prlimit(pid, resource.RLIMIT_FSIZE)[1]))


def lock_folder(trial: Trial, process: subprocess.Popen) -> None:
    """Replaces the folder by a file, since root, the user in containers, may write to any folder."""
    folder = trial.work_dir / "checkpoints"
    folder.rename(folder.with_name("kept"))
    folder.write_text("")


def unlock_folder(trial: Trial) -> None:
    folder = trial.work_dir / "checkpoints"
    if folder.is_file():
        folder.unlink()
        folder.with_name("kept").rename(folder)


def kill_loader(trial: Trial, process: subprocess.Popen) -> None:
    os.kill(rank_of(trial, 1, b"jseg.datasets.worker"), signal.SIGKILL)


@dataclass
class Fault:
    """A fault injected into a training, and its expected end."""

    name: str
    status: int  # of mpirun
    message: str  # a regular expression
    act: Callable[[Trial, subprocess.Popen], None] | None = (
        None  # once the first checkpoint has been reported
    )
    lines: str = ""  # of the config
    bad_image: bool = False
    resume: bool = True
    files: Sequence[str] = ()  # patterns in the work folder, one file each


RANK_0, RANK_1 = r"[^\n]*\brank 0\b", r"[^\n]*\brank 1\b"
FAULTS = (
    Fault("SIGINT to rank 1", 130, r"\bSIGINT\b[^\n]*\biter_\d+" + RANK_0, interrupt_rank),
    Fault("SIGINT to mpirun", 1, r"\bSIG(INT|TERM)\b[^\n]*\biter_\d+" + RANK_0, interrupt_mpirun),
    Fault("image unreadable on rank 1", 2, r"error: [^\n]*train_000" + RANK_1, bad_image=True),
    Fault(
        "image left out",
        0,
        r"warning: [^\n]*train_000",
        bad_image=True,
        lines="max_bad_images = 1\n",
        resume=False,
    ),
    Fault(
        "loss not finite",
        2,
        r"error: [^\n]*\bloss_\w+=[^\n]*bad_batch_iter_\d+" + RANK_0,
        resume=False,
        lines="optimizer = dict(lr=1e30)\n",
        files=("bad_batch_iter_*_rank_0.npz", "bad_batch_iter_*_rank_1.npz"),
    ),
    Fault("no room for a checkpoint", 2, "error: [^\n]*iter_[^\n]*" + RANK_0, fill_disk),
    Fault("checkpoint folder not writable", 2, "error: [^\n]*checkpoints[^\n]*" + RANK_0, lock_folder),
    Fault(
        "loader process of rank 1 killed",
        2,
        r"error: [^\n]*\bnum_workers\b[^\n]*\b9\b" + RANK_1,
        kill_loader,
        lines="num_workers = 1\n",
    ),
)


def prepare(options: argparse.Namespace, fault: Fault) -> Trial:
    """A trial with its own config, and if necessary, its own data."""
    name = re.sub(r"\W+", "_", fault.name)
    data = options.out / "data"
    if fault.bad_image:
        data = options.out / f"data_{name}_{RANKS}_ranks"
        shutil.rmtree(data, ignore_errors=True)
        shutil.copytree(options.out / "data", data)
        # the third iteration: after the first checkpoint; rank 1 alone reads this image in the first epoch
        index = DataLoader(range(PICTURES), BATCH_SIZE, seed=0, rank=1, world_size=RANKS).indices(2)[0][0]
        picture = data / "JPEGImages" / f"train_{index:05d}.png"
        picture.write_bytes(picture.read_bytes()[:100])
    config = options.out / f"{name}.py"
    config.write_text(f"_base_ = {str(options.config)!r}\ndata_root = {str(data)!r}\nseed = 0\n{fault.lines}")
    return Trial(argparse.Namespace(**{**vars(options), "config": config}), [RANKS], name)


def read(trial: Trial) -> str:
    return trial.output.read_text(errors="replace")


def suffer(options: argparse.Namespace, fault: Fault, unbroken: Trial, problems: list[str]) -> None:
    """Runs a training with one fault, and resumes it. Appends deviations from the documentation."""

    def check(right: bool, what: str) -> None:
        if not right:
            problems.append(f"{fault.name}: {what}, see {trial.output}")

    trial = prepare(options, fault)
    trial.output.unlink(missing_ok=True)
    process = trial.start()
    if fault.act:
        while process.poll() is None and not trial.reported():
            time.sleep(0.01)
        fault.act(trial, process)
    else:
        while process.poll() is None and not (fault.status and re.search(fault.message, read(trial))):
            time.sleep(0.05)
    took, gone = wait_for_end(trial, process)
    message = re.search(f"[^\\n]*{fault.message}[^\\n]*", read(trial))
    check(gone, "processes were left after 60 s")
    check(process.returncode == fault.status, f"exit status {process.returncode} instead of {fault.status}")
    check(message is not None, f"no message like {fault.message!r}")
    for pattern in fault.files:
        check(len(list(trial.work_dir.glob(pattern))) == 1, f"not one file {pattern}")
    unlock_folder(trial)
    if fault.bad_image:  # fixed, as a user would before going on
        shutil.copytree(options.out / "data", options.out / f"data_{trial.work_dir.name}", dirs_exist_ok=True)
    reported, complete = trial.reported(), trial.complete()
    check(not reported or reported in complete, f"lost checkpoint {reported}")
    print(
        f"{fault.name}: all ended in {took:.1f} s with status {process.returncode}; checkpoints {complete}\n"
        f"    {message and message[0]}",
        flush=True,
    )
    if fault.resume:
        again = trial.start(1)
        check(again.wait() == 0, f"going on ended with status {again.returncode}")
        if again.returncode == 0:
            check(0 < reported < options.iterations, f"the fault came after the last checkpoint ({reported})")
            compare(trial, unbroken, problems)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs all faults, and returns 0 if each ended as documented and nothing was lost."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--iterations", type=int, default=40)
    parser.add_argument("--at-once", type=int, default=2, help="trainings at the same time")
    parser.add_argument("--out", type=Path, required=True, help="folder for data, work folders and outputs")
    options = parser.parse_args(argv)
    options.out = options.out.resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    write_config(options)
    # A shell's background job ignores it, and so would mpirun.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    problems: list[str] = []
    unbroken = prepare(options, Fault("unbroken", 0, ""))
    if unbroken.start().wait():
        problems.append(f"the unbroken training failed, see {unbroken.output}")
    else:
        with ThreadPoolExecutor(options.at_once) as pool:
            list(pool.map(lambda fault: suffer(options, fault, unbroken, problems), FAULTS))
    for problem in problems:
        print(f"problem: {problem}")
    print(
        f"{len(FAULTS)} faults on {RANKS} ranks: "
        + ("every one named, nothing lost" if not problems else f"{len(problems)} problems")
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
