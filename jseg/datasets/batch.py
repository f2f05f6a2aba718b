"""Chooses the images of each iteration's batch, and joins samples into a batch."""

import functools
from collections.abc import Iterable, Sequence
from typing import TypedDict

import numpy as np

from jseg.datasets.base import ORDER_STREAM, Dataset, Sample

USER_ERRORS = (FileNotFoundError, OSError, ValueError)
"""Errors that users can cause, the more specific types first."""
_TRIES = 16  # after this many unreadable images in a row, the storage or the pipeline must be at fault


class Batch(TypedDict):
    """Samples of one size: image float32 (B, 3, H, W), label uint8 (B, H, W), and their B names."""

    image: np.ndarray
    label: np.ndarray
    names: list[str]


class LoadedBatch(Batch):
    """A batch, and the images that could not be read for it: name -> reason."""

    bad: dict[str, str]


def batch_indices(
    iteration: int, size: int, batch_size: int, seed: int, rank: int, world_size: int, shuffle: bool
) -> list[tuple[int, int]]:
    """Returns the (index, epoch) pairs that `rank` loads in `iteration`, a pure function of its arguments.

    The epochs, each a permutation of all `size` images, are concatenated. Every iteration takes the next
    batch_size * world_size images, and every rank its slice of them. So one rank with batch 8 and two ranks
    with batch 4 use the same images in the same order.
    """
    first = (iteration * world_size + rank) * batch_size
    pairs = []
    for position in range(first, first + batch_size):
        epoch, offset = divmod(position, size)
        index = int(_epoch_order(size, seed, epoch)[offset]) if shuffle else offset
        pairs.append((index, epoch))
    return pairs


def load_batch(dataset: Dataset, pairs: Sequence[tuple[int, int]], skip_unreadable: bool) -> LoadedBatch:
    """Loads the batch of the given (index, epoch) pairs: image, label and names as in `collate`, and `bad`.

    `bad` maps the name of each unreadable image to the reason. The next readable image of the dataset
    replaces it. The replacement is the same in every run, so that a resumed training repeats an uninterrupted
    one. Without `skip_unreadable`, the first such image raises an error, and `bad` is empty.

    Raises:
        FileNotFoundError, ValueError, OSError: if an image, or with `skip_unreadable`, 16 in a row, cannot be
            read.
    """
    bad: dict[str, str] = {}
    samples = [
        _stand_in(dataset, index, epoch, bad) if skip_unreadable else dataset.sample(index, epoch)
        for index, epoch in pairs
    ]
    return {**collate(samples), "bad": bad}


def load_sample(dataset: Dataset, pairs: Sequence[tuple[int, int]]) -> Sample:
    """Returns the sample of a single (index, epoch) pair."""
    ((index, epoch),) = pairs
    return dataset.sample(index, epoch)


def user_error(problem: BaseException) -> type[Exception] | None:
    """Returns the type in `USER_ERRORS` to which `problem` belongs, or None.

    It is used to raise the error again with another message or in another process. Derived types, such as
    UnicodeDecodeError, may need more arguments than a message.
    """
    return next((kind for kind in USER_ERRORS if isinstance(problem, kind)), None)


def still_unreadable(dataset: Dataset, names: Iterable[str]) -> dict[str, str]:
    """Returns name -> reason for those of `names` that are in the dataset and still cannot be read."""
    wanted = set(names)
    bad: dict[str, str] = {}
    for index in range(len(dataset)):
        if dataset.name(index) in wanted:
            try:
                dataset.sample(index, 0)
            except USER_ERRORS as error:
                bad[dataset.name(index)] = str(error)
    return bad


def _stand_in(dataset: Dataset, index: int, epoch: int, bad: dict[str, str]) -> Sample:
    tries = min(_TRIES, len(dataset))
    for step in range(tries):
        candidate = (index + step) % len(dataset)
        try:
            return dataset.sample(candidate, epoch)
        except USER_ERRORS as error:
            bad[dataset.name(candidate)] = str(error)
            latest = error
    kind = user_error(latest) or OSError  # never None, since it was caught as one of them
    raise kind(
        f"{latest} ({tries} images in a row cannot be read, so the storage or the pipeline is at fault)"
    )


def collate(samples: Sequence[Sample]) -> Batch:
    """Stacks samples to image float32 (B, 3, H, W), label uint8 (B, H, W) and names.

    Raises:
        ValueError: if the samples differ in size.
    """
    first = samples[0]
    for sample in samples[1:]:
        for key, size, other in (
            ("image", first["image"].shape, sample["image"].shape),
            ("label", first["label"].shape, sample["label"].shape),
        ):
            if size != other:
                raise ValueError(
                    f"all images of a batch must have the same size, but {key} '{first['name']}' is {size} "
                    f"and '{sample['name']}' is {other}; "
                    "end the pipeline with RandomCrop and Pad, or set batch_size to 1"
                )
    return {
        "image": np.stack([sample["image"] for sample in samples]),
        "label": np.stack([sample["label"] for sample in samples]),
        "names": [sample["name"] for sample in samples],
    }


@functools.lru_cache(maxsize=4)
def _epoch_order(size: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng([seed, epoch, 0, ORDER_STREAM]).permutation(size)
