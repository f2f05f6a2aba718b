"""Runs a function on many files, in several processes, with a progress bar."""

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

from jseg.progress import progress

_CHUNK = 8  # number of tasks that a process takes at a time


class Outcome(NamedTuple):
    """The function's result for a task, or the message of the error that it raised."""

    value: Any
    problem: str


def run_tasks(function: Callable[[Any], Any], tasks: Sequence[Any], jobs: int, label: str) -> list[Outcome]:
    """Calls `function` on every task. A failed task does not prevent the others from being done.

    Args:
        function: a function of a module, so that another process can import it.
        jobs: number of processes. With 1, the tasks run in this process.
        label: label of the progress bar.

    Returns:
        One outcome per task, in order. A ValueError or a missing file is a problem of the task.

    Raises:
        OSError: for errors that would affect every further task, such as a full disk or an unwritable folder.
        ChildProcessError: if a process was killed.
    """
    bar = partial(progress, total=len(tasks), label=label)
    if jobs == 1 or len(tasks) < 2:
        return list(bar(map(partial(_attempt, function), tasks)))
    # spawn, because a forked child would inherit the threads and locks of this process.
    pool = ProcessPoolExecutor(min(jobs, len(tasks)), multiprocessing.get_context("spawn"), _begin_worker)
    try:
        with _ctrl_c_later():  # `map` starts the processes, which inherit the signal mask
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
    """Blocks Ctrl-C. A terminal sends it to every process, but the parent should handle it: a process that is
    still importing would print a traceback."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_worker() -> None:
    """Makes this process end with its parent, also if the parent is killed."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
