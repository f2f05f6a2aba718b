"""Which images make the batch of an iteration, and joining samples into one."""

import functools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from jseg.datasets.base import ORDER_STREAM, Dataset

USER_ERRORS = (FileNotFoundError, OSError, ValueError)
"""What a user can cause; the more special kind first."""
_TRIES = 16  # unreadable images in a row, after which the storage or the pipeline is to blame


def batch_indices(
    iteration: int, size: int, batch_size: int, seed: int, rank: int, world_size: int, shuffle: bool
) -> list[tuple[int, int]]:
    """The (index, epoch) pairs that `rank` loads in `iteration`, a pure function of its arguments.

    The epochs, each a permutation of all `size` images, are laid end to end. Every iteration takes the next
    batch_size * world_size of them and every rank its slice, so one rank with batch 8 and two with batch 4
    see the same images in the same order.
    """
    first = (iteration * world_size + rank) * batch_size
    pairs = []
    for position in range(first, first + batch_size):
        epoch, offset = divmod(position, size)
        index = int(_epoch_order(size, seed, epoch)[offset]) if shuffle else offset
        pairs.append((index, epoch))
    return pairs


def load_batch(dataset: Dataset, pairs: Sequence[tuple[int, int]], skip_unreadable: bool) -> dict[str, Any]:
    """The batch of these (index, epoch) pairs: image, label and names as in `collate`, and `bad`.

    `bad` maps the name of each image that could not be read to the reason; the next readable one of the
    data set stands in for it. It is the same one in every run, so that a resumed training repeats the
    unbroken one. Without `skip_unreadable` the first such image raises, and `bad` is empty.

    Raises:
        FileNotFoundError, ValueError, OSError: an image cannot be read; with `skip_unreadable`, 16 in a row.
    """
    bad: dict[str, str] = {}
    samples = [
        _stand_in(dataset, index, epoch, bad) if skip_unreadable else dataset.sample(index, epoch)
        for index, epoch in pairs
    ]
    return {**collate(samples), "bad": bad}


def user_error(problem: BaseException) -> type[Exception] | None:
    """The kind among `USER_ERRORS` that `problem` is, None if it is none of them.

    To be raised again with another message, or in another process: kinds derived from these, such as
    UnicodeDecodeError, may need more than a message to be made.
    """
    return next((kind for kind in USER_ERRORS if isinstance(problem, kind)), None)


def still_unreadable(dataset: Dataset, names: Iterable[str]) -> dict[str, str]:
    """Those of `names` that are in the data set and still cannot be read: name -> reason."""
    wanted = set(names)
    bad: dict[str, str] = {}
    for index in range(len(dataset)):
        if dataset.name(index) in wanted:
            try:
                dataset.sample(index, 0)
            except USER_ERRORS as error:
                bad[dataset.name(index)] = str(error)
    return bad


def _stand_in(dataset: Dataset, index: int, epoch: int, bad: dict[str, str]) -> dict[str, Any]:
    tries = min(_TRIES, len(dataset))
    for step in range(tries):
        candidate = (index + step) % len(dataset)
        try:
            return dataset.sample(candidate, epoch)
        except USER_ERRORS as error:
            bad[dataset.name(candidate)] = str(error)
            latest = error
    kind = user_error(latest) or OSError  # never None: it was caught as one of them
    raise kind(f"{latest} ({tries} images in a row cannot be read: the fault is not in a single one)")


def collate(samples: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Stack samples: image float32 (B, 3, H, W), label uint8 (B, H, W), names.

    Raises:
        ValueError: if the samples differ in size.
    """
    for sample in samples[1:]:
        for key in ("image", "label"):
            if sample[key].shape != samples[0][key].shape:
                raise ValueError(
                    f"a batch needs one size, but {key} '{samples[0]['name']}' is "
                    f"{samples[0][key].shape} and '{sample['name']}' is {sample[key].shape}; "
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
