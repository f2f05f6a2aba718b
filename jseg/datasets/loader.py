"""Reproducible, prefetched batches for training, with clear errors.

The batch of iteration t depends only on (seed, t, rank, world_size), and not on the number of workers.
Resuming at iteration t gives the batches that an uninterrupted run would have used.
"""

import contextlib
import itertools
import os
import pickle
import queue
import subprocess
import sys
import threading
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from jseg.datasets.base import Dataset
from jseg.datasets.batch import USER_ERRORS, LoadedBatch, batch_indices, load_batch

_PREFETCH = 2  # batches in preparation per worker, one being prepared and one waiting
_ERROR_KINDS = {kind.__name__: kind for kind in USER_ERRORS}


class DataLoader:
    """Endless batches of a dataset.

    Args:
        dataset: provides `len()`, `sample(index, epoch)` and `name(index)`. Must be picklable for workers.
        batch_size: images per rank and iteration.
        seed: seed of the order, at least 0.
        rank, world_size: rank of this process and number of processes.
        num_workers: number of loading processes. With 0, a thread of this process prepares the next batches.
        shuffle: use a new permutation in every epoch, instead of the order of the dataset.
        skip_unreadable: replace an image that cannot be read by the next one; see `load_batch`.

    Raises:
        ValueError: if the dataset is empty or a number is invalid.
    """

    def __init__(
        self,
        dataset: Dataset,
        batch_size: int,
        seed: int,
        rank: int = 0,
        world_size: int = 1,
        num_workers: int = 0,
        shuffle: bool = True,
        skip_unreadable: bool = False,
    ) -> None:
        if len(dataset) == 0:
            raise ValueError("dataset: it contains no images; check its split")
        if batch_size < 1:
            raise ValueError(f"batch_size: {batch_size} is invalid; use 1 or more")
        if num_workers < 0 or seed < 0:
            raise ValueError(f"num_workers ({num_workers}) and seed ({seed}) must be 0 or more")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank: {rank} is outside 0..{world_size - 1} (world_size {world_size})")
        self.dataset = dataset
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.num_workers = num_workers
        self.shuffle = shuffle
        self.skip_unreadable = skip_unreadable

    def indices(self, iteration: int) -> list[tuple[int, int]]:
        """Returns the (index, epoch) pairs of the batch of `iteration`."""
        return batch_indices(
            iteration, len(self.dataset), self.batch_size, self.seed, self.rank, self.world_size, self.shuffle
        )

    def batch(self, iteration: int) -> LoadedBatch:
        """Prepares and returns the batch of `iteration`, with the keys of `load_batch`."""
        return load_batch(self.dataset, self.indices(iteration), self.skip_unreadable)

    def batches(self, start_iteration: int = 0) -> Generator[LoadedBatch, None, None]:
        """Yields the batches of `start_iteration`, `start_iteration` + 1, ... endlessly.

        The thread or workers start with the first `next`, and end when the iterator is closed or
        garbage-collected.

        Raises:
            FileNotFoundError, ValueError: if a file is missing or invalid. The message names it.
            ChildProcessError: if a worker died.
        """
        if self.num_workers == 0:
            return self._from_thread(start_iteration)
        return self._from_workers(start_iteration)

    def _from_thread(self, start: int) -> Generator[LoadedBatch, None, None]:
        ready: queue.Queue[Any] = queue.Queue(maxsize=_PREFETCH)
        stop = threading.Event()

        def offer(item: Any) -> None:
            while not stop.is_set():
                try:
                    ready.put(item, timeout=0.1)
                    return
                except queue.Full:
                    continue

        def prepare() -> None:
            try:
                for iteration in itertools.count(start):
                    if stop.is_set():
                        return
                    offer(self.batch(iteration))
            except Exception as problem:  # passed to the consumer, which raises it
                offer(problem)

        thread = threading.Thread(target=prepare, name="jseg-loader", daemon=True)
        thread.start()
        try:
            while True:
                item = ready.get()
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            stop.set()
            thread.join()

    def _from_workers(self, start: int) -> Generator[LoadedBatch, None, None]:
        # Iteration t belongs to worker (t - start) % n. Reading the pipes in turn keeps the order without a
        # common queue, and a full pipe keeps a fast worker from running ahead.
        workers: list[_Worker] = []
        try:
            for number in range(self.num_workers):
                workers.append(_Worker(number, self.dataset, self.skip_unreadable))
            ahead = _PREFETCH * self.num_workers
            for offset in range(ahead):
                workers[offset % self.num_workers].request(self.indices(start + offset))
            for offset in itertools.count():
                worker = workers[offset % self.num_workers]
                batch = worker.receive()
                worker.request(self.indices(start + offset + ahead))
                yield batch
        finally:
            for worker in workers:
                worker.close()


class _Worker:
    """A process running `jseg.datasets.worker`, and the requests that it has not answered yet."""

    def __init__(self, number: int, dataset: Dataset, skip_unreadable: bool) -> None:
        self._number = number
        self._dataset = dataset
        self._pending: list[Sequence[tuple[int, int]]] = []
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
        self._send((dataset, skip_unreadable))

    def request(self, pairs: Sequence[tuple[int, int]]) -> None:
        self._pending.append(pairs)
        self._send(pairs)

    def receive(self) -> LoadedBatch:
        """Returns the answer to the oldest request."""
        try:
            reply = pickle.load(self._replies)
        except (EOFError, pickle.UnpicklingError):
            raise self._death() from None
        if reply[0] == "error":
            _, kind, message = reply
            raise _ERROR_KINDS.get(kind, RuntimeError)(message)
        self._pending.pop(0)
        return reply[1]

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
            f"{names}; a common cause is lack of memory: lower num_workers or batch_size "
            "(num_workers=0 loads in this process)"
        )
