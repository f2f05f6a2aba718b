"""Loads samples or batches ahead of their use, in order, in a thread or in worker processes."""

import contextlib
import itertools
import os
import pickle
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, TypeVar

from jseg.datasets.base import Dataset
from jseg.datasets.batch import USER_ERRORS

Loaded = TypeVar("Loaded")
Pairs = Sequence[tuple[int, int]]
"""(index, epoch) of the images that are loaded together."""
Load = Callable[[Dataset, Pairs], Loaded]

_AHEAD = 2  # requests of the thread, or of each worker, one being prepared and one waiting
_ERROR_KINDS = {kind.__name__: kind for kind in USER_ERRORS}


def load_ahead(
    dataset: Dataset, load: Load[Loaded], requests: Iterable[Pairs], num_workers: int
) -> Generator["Future[Loaded]", None, None]:
    """Yields what `load` returns for each of `requests`, in order, while the next ones are prepared.

    Jittor computes without releasing Python's lock, so only worker processes load while it computes. The
    thread or workers start with the first `next`, and end when the iterator is closed or garbage-collected.

    Args:
        dataset: dataset whose images are loaded. It and `load` must be picklable for workers.
        load: function of the dataset and a request, defined at the top level of a module.
        num_workers: number of processes; 0 uses a thread of this process.

    Yields:
        A finished future with the result or the error of `load`. An error does not end the iterator. From a
        worker, it has its type in `USER_ERRORS`, or is a RuntimeError with the traceback.

    Raises:
        ChildProcessError: if a worker died. ValueError, OSError, RuntimeError: if the dataset cannot be
            loaded in a worker.
    """
    if num_workers == 0:
        return _from_thread(dataset, load, requests)
    return _from_workers(dataset, load, requests, num_workers)


def _from_thread(
    dataset: Dataset, load: Load[Loaded], requests: Iterable[Pairs]
) -> Generator["Future[Loaded]", None, None]:
    waiting: deque[Future[Loaded]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="jseg-loader") as thread:
        try:
            for pairs in requests:
                waiting.append(thread.submit(load, dataset, pairs))
                if len(waiting) > _AHEAD:
                    yield _finished(waiting.popleft())
            yield from map(_finished, waiting)
        finally:
            thread.shutdown(cancel_futures=True)


def _finished(answer: "Future[Loaded]") -> "Future[Loaded]":
    wait([answer])
    return answer


def _from_workers(
    dataset: Dataset, load: Load[Loaded], requests: Iterable[Pairs], num_workers: int
) -> Generator["Future[Loaded]", None, None]:
    # Workers take turns. Reading their pipes in turn keeps the order without a common queue, and a full pipe
    # keeps a fast worker from running ahead.
    workers: list[_Worker] = []
    waiting: deque[_Worker] = deque()
    try:
        for number in range(num_workers):
            workers.append(_Worker(number, dataset, load))
        for worker, pairs in zip(itertools.cycle(workers), requests):
            worker.request(pairs)
            waiting.append(worker)
            if len(waiting) > _AHEAD * num_workers:
                yield waiting.popleft().receive()
        while waiting:
            yield waiting.popleft().receive()
    finally:
        for worker in workers:
            worker.close()


class _Worker:
    """A process running `jseg.datasets.worker`, and the requests that it has not answered yet."""

    def __init__(self, number: int, dataset: Dataset, load: Load[Any]) -> None:
        self._number = number
        self._dataset = dataset
        self._pending: deque[Pairs] = deque()
        environment = dict(os.environ)
        # The child must find the same modules as this process, installed or not. '' means the current folder.
        environment["PYTHONPATH"] = os.pathsep.join(str(Path(entry).absolute()) for entry in sys.path)
        environment.setdefault("OMP_NUM_THREADS", "1")
        # Keep Ctrl-C and `kill -- -GROUP` from reaching the worker.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "jseg.datasets.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,
        )
        assert self._process.stdin is not None and self._process.stdout is not None  # set above
        self._requests, self._replies = self._process.stdin, self._process.stdout
        self._send((dataset, load))

    def request(self, pairs: Pairs) -> None:
        self._pending.append(pairs)
        self._send(pairs)

    def receive(self) -> "Future[Any]":
        """Returns the answer to the oldest request."""
        try:
            status, *content = pickle.load(self._replies)
        except (EOFError, pickle.UnpicklingError):
            raise self._death() from None
        answer: Future[Any] = Future()
        if status == "loaded":
            answer.set_result(content[0])
        else:
            kind, message = content
            error = _ERROR_KINDS.get(kind, RuntimeError)(message)
            if status == "no dataset":
                raise error
            answer.set_exception(error)
        self._pending.popleft()
        return answer

    def close(self) -> None:
        """Ends the process. Closing the pipes is enough unless it hangs in a read."""
        for stream in (self._replies, self._requests):
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        try:
            self._process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _send(self, message: Any) -> None:
        try:
            pickle.dump(message, self._requests, protocol=5)
            self._requests.flush()
        except BrokenPipeError:
            pass  # the worker has ended; `receive` reads its last reply or reports its death

    def _death(self) -> ChildProcessError:
        code = self._process.wait()
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        wanted = self._pending[0] if self._pending else ()
        names = ", ".join(self._dataset.name(index) for index, _ in wanted)
        return ChildProcessError(
            f"num_workers: data loading worker {self._number} {how} while preparing "
            f"{names}; a common cause is lack of memory: lower num_workers (0 loads in this process) or, in "
            "training, batch_size"
        )
