"""The same work on many files, in several processes, with a progress bar."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import wait
from typing import Any, NamedTuple

from tqdm import tqdm

_CHUNK = 8  # tasks that a process takes at a time


class Outcome(NamedTuple):
    """What the function returned for a task, or the message of the error that it raised."""

    value: Any
    problem: str


def run_tasks(function: Callable[[Any], Any], tasks: Sequence[Any], jobs: int, label: str) -> list[Outcome]:
    """Calls `function` on every task; a task that fails does not keep the others from being done.

    Args:
        function: of a module, so that another process can find it.
        jobs: processes; 1 works in this one.
        label: shown beside the progress bar.

    Returns:
        One outcome a task, in order. A ValueError or a missing file is a problem of the task.

    Raises:
        OSError: the disk is full, a folder not writable: what would fail again with every further task.
        ChildProcessError: a process was killed.
    """
    bar = partial(tqdm, total=len(tasks), desc=label, unit="file", disable=None)
    if jobs == 1 or len(tasks) < 2:
        return list(bar(map(partial(_attempt, function), tasks)))
    # spawn: a forked child would inherit whatever threads and locks this process has.
    pool = ProcessPoolExecutor(min(jobs, len(tasks)), multiprocessing.get_context("spawn"), _begin_worker)
    try:
        with _ctrl_c_later():  # `map` starts the processes, which inherit the signal mask for good
            outcomes = pool.map(partial(_attempt, function), tasks, chunksize=_CHUNK)
        return list(bar(outcomes))
    except BrokenProcessPool:
        raise ChildProcessError(
            "--jobs: a process was killed, perhaps because memory ran out; run the same command "
            "again, with fewer --jobs"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _attempt(function: Callable[[Any], Any], task: Any) -> Outcome:
    try:
        return Outcome(function(task), "")
    except (ValueError, FileNotFoundError) as problem:
        return Outcome(None, str(problem))


@contextmanager
def _ctrl_c_later() -> Iterator[None]:
    """Holds Ctrl-C back. A terminal sends it to every process, but it is for the parent to answer: one that
    is still importing would print a traceback."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_worker() -> None:
    """A parent that was killed must not leave its processes behind."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
