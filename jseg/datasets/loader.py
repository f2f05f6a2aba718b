"""Reproducible, prefetched batches for training, with clear errors.

The batch of iteration t depends only on (seed, t, rank, world_size), and not on the number of workers.
Resuming at iteration t gives the batches that an uninterrupted run would have used.
"""

import contextlib
import itertools
from collections.abc import Generator
from functools import partial

from jseg.datasets.ahead import load_ahead
from jseg.datasets.base import Dataset
from jseg.datasets.batch import LoadedBatch, batch_indices, load_batch


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
        self._load = partial(load_batch, skip_unreadable=skip_unreadable)

    def indices(self, iteration: int) -> list[tuple[int, int]]:
        """Returns the (index, epoch) pairs of the batch of `iteration`."""
        return batch_indices(
            iteration, len(self.dataset), self.batch_size, self.seed, self.rank, self.world_size, self.shuffle
        )

    def batch(self, iteration: int) -> LoadedBatch:
        """Prepares and returns the batch of `iteration`, with the keys of `load_batch`."""
        return self._load(self.dataset, self.indices(iteration))

    def batches(self, start_iteration: int = 0) -> Generator[LoadedBatch, None, None]:
        """Yields the batches of `start_iteration`, `start_iteration` + 1, ... endlessly.

        The thread or workers start with the first `next`, and end when the iterator is closed or
        garbage-collected.

        Raises:
            FileNotFoundError, ValueError: if a file is missing or invalid. The message names it.
            ChildProcessError: if a worker died.
        """
        requests = map(self.indices, itertools.count(start_iteration))
        with contextlib.closing(load_ahead(self.dataset, self._load, requests, self.num_workers)) as loaded:
            for batch in loaded:
                yield batch.result()
