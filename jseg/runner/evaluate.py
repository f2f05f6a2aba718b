"""Runs a segmentor over a dataset, for metrics on labelled images or for predicted masks."""

import contextlib
import time
from collections.abc import Generator, Mapping, Sequence
from typing import Any

import numpy as np

from jseg.datasets import Dataset, Sample
from jseg.datasets.ahead import load_ahead
from jseg.datasets.batch import USER_ERRORS, load_sample
from jseg.distributed import alive, all_reduce_sum, gather_objects, rank, world_size
from jseg.evaluation import ConfusionMatrix, summarise
from jseg.files import PathLike
from jseg.models.segmentors import Segmentor
from jseg.names import shortened
from jseg.runner.log import RunLog, clock
from jseg.runner.outputs import ImageOutputs
from jseg.runner.prediction import Predictor

_PROGRESS_SECONDS = 15.0


def evaluate(
    model: Segmentor,
    dataset: Dataset,
    inference: Mapping[str, Any],
    log: RunLog,
    outputs: ImageOutputs | None = None,
    num_workers: int = 0,
) -> dict[str, Any]:
    """Returns metrics of `model` on a labelled dataset, over all ranks; see `jseg.evaluation.summarise`.

    `confusion` is the confusion matrix as a list of rows (label), each with a count for every predicted
    class.

    Args:
        num_workers: number of processes that read images; see `jseg.datasets.ahead.load_ahead`.
    """
    confusion = ConfusionMatrix(len(dataset.class_names))
    masks = _masks(model, dataset, inference, log, "evaluated", num_workers)
    with contextlib.closing(masks):
        for index, sample, mask in masks:
            own = ConfusionMatrix(confusion.num_classes)
            own.update(mask, sample["label"])
            confusion.merge(own)
            if outputs is not None:
                outputs.take(index, mask, own.matrix)
    if outputs is not None:
        outputs.close()
    total = all_reduce_sum(confusion.matrix)
    return {**summarise(total, dataset.class_names, dataset.unseen), "confusion": total.tolist()}


def save_predictions(
    model: Segmentor,
    dataset: Dataset,
    inference: Mapping[str, Any],
    folder: PathLike,
    log: RunLog,
    published_values: bool = False,
    outlines: Sequence[str] = (),
    num_workers: int = 0,
) -> None:
    """Writes one palette PNG for each image of `dataset`. Labels are not needed; see `ImageOutputs`.

    Images that cannot be read or do not fit into memory are skipped, and listed at the end.

    Args:
        num_workers: as in `evaluate`.

    Raises:
        OSError: if the folder cannot be written. ValueError: if images were skipped, after writing the
            others.
    """
    outputs = ImageOutputs(dataset, masks=folder, published_values=published_values, outlines=outlines)
    left_out: dict[str, str] = {}
    masks = _masks(model, dataset, inference, log, "segmented", num_workers, left_out)
    with contextlib.closing(masks):
        for index, _, mask in masks:
            outputs.take(index, mask)
    # If nothing was segmented, earlier masks stay. But other ranks wait for this one before they replace
    # them.
    if len(left_out) < len(dataset) or world_size() > 1:
        outputs.close()
    found = [
        item for part in gather_objects(left_out, "the images that were skipped") for item in part.items()
    ]
    for _, reason in found:
        log.info(f"warning: not segmented: {reason}")
    if found:
        raise ValueError(
            f"{len(found)} of {len(dataset)} images were not segmented: "
            f"{shortened(name for name, _ in found)}; correct or remove them and run this again (the first: "
            f"{found[0][1]})"
        )


def _masks(
    model: Segmentor,
    dataset: Dataset,
    inference: Mapping[str, Any],
    log: RunLog,
    verb: str,
    num_workers: int,
    left_out: dict[str, str] | None = None,
) -> Generator[tuple[int, Sample, np.ndarray], None, None]:
    """Yields (index, sample, mask) of this rank's share of the dataset, and logs the progress from time to
    time.

    Args:
        left_out: collects the names of images that cannot be read or do not fit into memory, with reasons. If
            None, the first one raises.
    """
    indices = range(rank(), len(dataset), world_size())
    progress = _Progress(log, verb, len(indices))
    predictor = Predictor(model, inference, len(dataset.class_names), log, left_out)
    with contextlib.closing(_samples(dataset, indices, num_workers, left_out)) as samples:
        for index, sample, mask in predictor.masks(samples):
            yield index, sample, mask
            progress.show(indices.index(index) + 1)
    progress.show(len(indices))


def _samples(
    dataset: Dataset, indices: Sequence[int], num_workers: int, unreadable: dict[str, str] | None
) -> Generator[tuple[int, Sample], None, None]:
    """Yields each index and its sample, which is read while those before it are segmented.

    Args:
        unreadable: collects the names of images that cannot be read, with reasons. If None, the first one
            raises.
    """
    requests = ([(index, 0)] for index in indices)
    reading = load_ahead(dataset, load_sample, requests, min(num_workers, len(indices)))
    with contextlib.closing(reading):
        alive("reading an image")
        for index, read in zip(indices, reading):
            try:
                sample = read.result()
            except USER_ERRORS as error:
                if unreadable is None:
                    raise
                unreadable[dataset.name(index)] = str(error)
            else:
                yield index, sample
            alive("reading an image")


class _Progress:
    """Logs how many of `total` images are done: every few seconds, and once after the last."""

    def __init__(self, log: RunLog, verb: str, total: int) -> None:
        self._log, self._verb, self._total = log, verb, total
        self._start = self._last = time.perf_counter()
        self._shown = 0

    def show(self, done: int) -> None:
        now = time.perf_counter()
        if done > self._shown and (done == self._total or now - self._last > _PROGRESS_SECONDS):
            speed = done / (now - self._start)
            left = clock((self._total - done) / speed)
            self._log.info(f"{self._verb} {done}/{self._total} images, {speed:.1f} a second, {left} left")
            self._last, self._shown = now, done
