"""Running a segmentor over a dataset: metrics on labelled pictures, or predictions as palette images."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from jseg.datasets import Dataset
from jseg.distributed import alive, all_reduce_sum, rank, world_size
from jseg.evaluation import ConfusionMatrix, summarise
from jseg.files import PathLike
from jseg.inference.recipe import TestRecipe
from jseg.inference.windows import Pass, PredictFn, class_map, predict_windows
from jseg.models.segmentors import Segmentor
from jseg.runner.log import RunLog, clock
from jseg.runner.outputs import PictureOutputs
from jseg.runtime.backend import jt

_PROGRESS_SECONDS = 15.0


def predict_mask(model: Segmentor, sample: Mapping[str, Any], inference: Mapping[str, Any]) -> np.ndarray:
    """uint8 (H, W) class indices of one sample at its original size.

    Args:
        model: segmentor; its `predict` already lowers the seen classes.
        sample: of a data set in test mode, `image` float32 (3, h, w) and `original_size`.
        inference: see `jseg.inference.recipe`.
    """
    recipe, predictor = TestRecipe((), inference, model.patch_size), _predictor(model)
    passes = [
        Pass(predict_windows(predictor, copy, plan), mirrored)
        for copy, plan, mirrored in recipe.copies(sample["image"])
    ]
    return class_map(passes, sample["original_size"]).mask.astype(np.uint8)


def evaluate(
    model: Segmentor,
    dataset: Dataset,
    inference: Mapping[str, Any],
    log: RunLog,
    outputs: PictureOutputs | None = None,
) -> dict[str, Any]:
    """Metrics of `model` on a labelled dataset, over all ranks: see `jseg.evaluation.summarise`."""
    confusion = ConfusionMatrix(len(dataset.class_names))
    for index, sample in _samples(dataset, log, "evaluated"):
        prediction = predict_mask(model, sample, inference)
        own = ConfusionMatrix(confusion.num_classes)
        own.update(prediction, sample["label"])
        confusion.merge(own)
        if outputs is not None:
            outputs.take(index, prediction, own.matrix)
    if outputs is not None:
        outputs.close()
    total = all_reduce_sum(confusion.matrix)
    return summarise(total, dataset.class_names, dataset.unseen)


def save_predictions(
    model: Segmentor, dataset: Dataset, inference: Mapping[str, Any], folder: PathLike, log: RunLog
) -> None:
    """Writes one palette PNG for each picture of `dataset`, which needs no labels; see `PictureOutputs`.

    Raises:
        OSError: the folder cannot be written.
    """
    outputs = PictureOutputs(dataset, masks=folder)
    for index, sample in _samples(dataset, log, "segmented"):
        outputs.take(index, predict_mask(model, sample, inference))
    outputs.close()


def _samples(dataset: Dataset, log: RunLog, verb: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """This rank's share of the dataset, with a progress line now and then."""
    indices = range(rank(), len(dataset), world_size())
    start = last = time.perf_counter()
    for done, index in enumerate(indices):
        yield index, dataset.sample(index, 0)
        now = time.perf_counter()
        if now - last > _PROGRESS_SECONDS or done + 1 == len(indices):
            speed = (done + 1) / (now - start)
            left = clock((len(indices) - done - 1) / speed)
            log.info(f"{verb} {done + 1}/{len(indices)} pictures, {speed:.1f} a second, {left} left")
            last = now


def _predictor(model: Segmentor) -> PredictFn:
    def predict(image: np.ndarray) -> np.ndarray:
        alive("segmenting a picture")
        with jt.no_grad():
            return model.predict(jt.array(np.ascontiguousarray(image, np.float32))).numpy()

    return predict
