"""Runs a segmentor over a dataset, for metrics on labelled images or for predicted masks."""

import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np

from jseg.datasets import Dataset, Sample
from jseg.datasets.batch import USER_ERRORS
from jseg.datasets.transforms import MAX_ASPECT
from jseg.distributed import alive, all_reduce_sum, gather_objects, rank, world_size
from jseg.evaluation import ConfusionMatrix, summarise
from jseg.files import PathLike
from jseg.inference.grid import grid_copy, grid_mask
from jseg.inference.recipe import TestRecipe
from jseg.inference.softmax_map import softmax_map
from jseg.inference.windows import Pass, PredictFn, WindowPlan, class_map, cut_windows, predict_windows
from jseg.models.segmentors import Segmentor
from jseg.models.segmentors.base import GridScores
from jseg.names import shortened
from jseg.runner.log import RunLog, clock
from jseg.runner.outputs import ImageOutputs
from jseg.runtime.backend import jt
from jseg.runtime.memory import INFERENCE, OutOfMemory, memory_advice

_PROGRESS_SECONDS = 15.0
_WINDOWS_TOGETHER = 4  # of an image
_READ_AHEAD = 2  # images


def predict_mask(model: Segmentor, sample: Sample, inference: Mapping[str, Any]) -> np.ndarray:
    """Returns the class indices (H, W), uint8, of one sample at its original size.

    Args:
        model: segmentor whose `predict` already subtracts the bias from seen classes.
        sample: sample of a dataset in test mode, with `image` float32 (3, h, w) and `original_size`.
        inference: see `jseg.inference.recipe`.
    """
    recipe, (height, width) = TestRecipe((), inference, model.patch_size), sample["original_size"]
    copies, bias = [], None
    for copy, plan, mirrored in recipe.copies(sample["image"]):
        scores = [_grid_scores(model, batch) for batch in _batches(copy, plan)]
        if scores[0] is None:
            return _mask_of_full_scores(model, sample, recipe)
        logits = [part.logits for part in scores if part]
        copies.append(grid_copy(logits, plan, mirrored, model.patch_size))
        bias = scores[0].bias
    assert bias is not None
    return grid_mask(copies, (height, width), bias)


def _mask_of_full_scores(model: Segmentor, sample: Sample, recipe: TestRecipe) -> np.ndarray:
    """`predict_mask` of models whose scores exist at the size of the image alone."""
    predictor = _predictor(model)
    passes = [
        Pass(predict_windows(predictor, copy, plan), mirrored)
        for copy, plan, mirrored in recipe.copies(sample["image"])
    ]
    size, softmax = sample["original_size"], model.late_softmax
    found = class_map(passes, size) if softmax is None else softmax_map(passes, size, *softmax)
    return found.mask.astype(np.uint8)


def _batches(image: np.ndarray, plan: WindowPlan) -> Iterator[np.ndarray]:
    """The windows of an image, float32 (n, 3, h, w), of which a few are computed together."""
    windows = list(cut_windows(image, plan))
    for start in range(0, len(windows), _WINDOWS_TOGETHER):
        yield np.stack(windows[start : start + _WINDOWS_TOGETHER])


def _grid_scores(model: Segmentor, batch: np.ndarray) -> GridScores | None:
    alive("segmenting an image")
    with jt.no_grad():
        found = model.predict_on_grid(jt.array(batch))
        if found is not None:
            found.logits.sync()  # so that one batch at a time is in memory
        return found


def evaluate(
    model: Segmentor,
    dataset: Dataset,
    inference: Mapping[str, Any],
    log: RunLog,
    outputs: ImageOutputs | None = None,
) -> dict[str, Any]:
    """Returns metrics of `model` on a labelled dataset, over all ranks; see `jseg.evaluation.summarise`.

    `confusion` is the confusion matrix as a list of rows (label), each with a count for every predicted
    class.
    """
    confusion = ConfusionMatrix(len(dataset.class_names))
    for index, sample in _samples(dataset, log, "evaluated"):
        prediction = _segmented(model, sample, inference, log)
        own = ConfusionMatrix(confusion.num_classes)
        own.update(prediction, sample["label"])
        confusion.merge(own)
        if outputs is not None:
            outputs.take(index, prediction, own.matrix)
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
) -> None:
    """Writes one palette PNG for each image of `dataset`. Labels are not needed; see `ImageOutputs`.

    Images that cannot be read or do not fit into memory are skipped, and listed at the end.

    Raises:
        OSError: if the folder cannot be written. ValueError: if images were skipped, after writing the
            others.
    """
    outputs = ImageOutputs(dataset, masks=folder, published_values=published_values, outlines=outlines)
    left_out: dict[str, str] = {}
    for index, sample in _samples(dataset, log, "segmented", left_out):
        try:
            prediction = _segmented(model, sample, inference, log)
        except OutOfMemory as error:
            left_out[sample["name"]] = str(error)
            continue
        outputs.take(index, prediction)
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


def _segmented(model: Segmentor, sample: Sample, inference: Mapping[str, Any], log: RunLog) -> np.ndarray:
    """`predict_mask`, with a warning for extreme images and the image named in errors.

    Raises:
        OutOfMemory: if the image does not fit into memory.
    """
    height, width = sample["original_size"]
    named = f"image {sample['name']} of {width}x{height} pixels"
    if max(height, width) > MAX_ASPECT * min(height, width):
        log.info(f"warning: {named} is more than {MAX_ASPECT} times as long as wide and will be squeezed")
    try:
        with memory_advice(INFERENCE):
            return predict_mask(model, sample, inference)
    except OutOfMemory as error:
        raise OutOfMemory(f"{named}: {error}") from error


def _samples(
    dataset: Dataset, log: RunLog, verb: str, unreadable: dict[str, str] | None = None
) -> Iterator[tuple[int, Sample]]:
    """Yields this rank's share of the dataset, and logs the progress from time to time.

    Args:
        unreadable: collects the names of images that cannot be read, with reasons. If None, the first one
            raises.
    """
    indices = range(rank(), len(dataset), world_size())
    start = last = time.perf_counter()
    for done, (index, read) in enumerate(_read_ahead(dataset, indices)):
        try:
            sample = read.result()
        except USER_ERRORS as error:
            if unreadable is None:
                raise
            unreadable[dataset.name(index)] = str(error)
        else:
            yield index, sample
        now = time.perf_counter()
        if now - last > _PROGRESS_SECONDS or done + 1 == len(indices):
            speed = (done + 1) / (now - start)
            left = clock((len(indices) - done - 1) / speed)
            log.info(f"{verb} {done + 1}/{len(indices)} images, {speed:.1f} a second, {left} left")
            last = now


def _read_ahead(dataset: Dataset, indices: Sequence[int]) -> Iterator[tuple[int, "Future[Sample]"]]:
    """Each index, and its sample, which a thread reads while the samples before it are segmented."""
    waiting: deque[tuple[int, Future[Sample]]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="jseg-evaluation") as thread:
        try:
            for index in indices:
                waiting.append((index, thread.submit(dataset.sample, index, 0)))
                if len(waiting) > _READ_AHEAD:
                    yield waiting.popleft()
            yield from waiting
        finally:
            thread.shutdown(cancel_futures=True)


def _predictor(model: Segmentor) -> PredictFn:
    def predict(image: np.ndarray) -> np.ndarray:
        alive("segmenting an image")
        with jt.no_grad():
            return model.predict(jt.array(np.ascontiguousarray(image, np.float32))).numpy()

    return predict
