"""Running a segmentor over a dataset: metrics on labelled pictures, or predictions as palette images."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from jseg.datasets import Dataset
from jseg.distributed import alive, all_reduce_sum, rank, world_size
from jseg.evaluation import ConfusionMatrix, summarise
from jseg.files import PathLike
from jseg.inference import predict_augmented, predict_slide, predict_whole
from jseg.models.segmentors import Segmentor
from jseg.runner.log import RunLog, clock
from jseg.runner.outputs import PictureOutputs
from jseg.runtime.backend import jt

_PROGRESS_SECONDS = 15.0
PredictFn = Callable[[np.ndarray], np.ndarray]


def check_inference(inference: Mapping[str, Any]) -> None:
    """Refuses the config's `inference` before anything is trained.

    Raises:
        ValueError: another mode than 'slide' and 'whole', 'slide' without crop_size and stride, impossible
            scales.
    """
    mode, scales = inference.get("mode"), inference.get("scales")
    if mode not in ("slide", "whole"):
        raise ValueError(f"config key inference.mode: expected 'slide' or 'whole', got {mode!r}")
    if mode == "slide" and (inference.get("crop_size") is None or inference.get("stride") is None):
        raise ValueError(
            "config key inference: mode 'slide' needs crop_size and stride in pixels; set both, or "
            "inference.mode='whole'"
        )
    factors = list(scales) if isinstance(scales, Iterable) else []
    numbers = [scale for scale in factors if isinstance(scale, (int, float)) and not isinstance(scale, bool)]
    if len(numbers) != len(factors) or not numbers or min(numbers) <= 0:
        raise ValueError(
            f"config key inference.scales: expected one or more positive factors, got {scales!r}"
        )


def class_map(model: Segmentor, sample: Mapping[str, Any], inference: Mapping[str, Any]) -> np.ndarray:
    """uint8 (H, W) class indices of one sample at its original size.

    Args:
        model: segmentor; its `predict` already lowers the seen classes.
        sample: of a dataset in test mode, `image` float32 (3, h, w) and `original_size`.
        inference: `mode` 'whole' or 'slide', for the latter `crop_size` and `stride` in pixels; `scales` and
            `flip` of test-time augmentation. See `check_inference`.
    """
    size, predictor = sample["original_size"], _predictor(model)

    def scores(image: np.ndarray) -> np.ndarray:
        if inference["mode"] == "whole":
            return predict_whole(predictor, image, size, size_divisor=model.patch_size)
        return predict_slide(predictor, image, inference["crop_size"], inference["stride"], size)

    return (
        predict_augmented(scores, sample["image"], inference["scales"], inference["flip"])
        .argmax(0)
        .astype(np.uint8)
    )


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
        prediction = class_map(model, sample, inference)
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
        outputs.take(index, class_map(model, sample, inference))
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
