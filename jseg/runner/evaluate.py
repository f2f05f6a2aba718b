"""Running a segmentor over a dataset: metrics on labelled pictures, or predictions as palette images."""

import os
import time
from typing import Any, Callable, Dict, Iterator, Mapping, Tuple

import numpy as np

from jseg.datasets.masks import save_mask
from jseg.distributed import all_reduce_sum, rank, world_size
from jseg.evaluation import ConfusionMatrix, predict_slide, predict_whole, summarise
from jseg.runner.log import RunLog, clock
from jseg.runtime.backend import jt

_PROGRESS_SECONDS = 15.0
PredictFn = Callable[[np.ndarray], np.ndarray]


def class_map(model: Any, sample: Mapping[str, Any], inference: Mapping[str, Any]) -> np.ndarray:
    """uint8 (H, W) class indices of one sample at its original size.

    Args:
        model: segmentor; its `predict` already lowers the seen classes.
        sample: of a dataset in test mode, `image` float32 (3, h, w) and `original_size`.
        inference: `mode` 'whole' or 'slide', for the latter `crop_size` and `stride` in pixels.

    Raises:
        ValueError: another mode, or 'slide' without crop_size and stride.
    """
    mode = inference.get("mode")
    if mode == "whole":
        scores = predict_whole(_predictor(model), sample["image"], sample["original_size"], size_divisor=_patch(model))
    elif mode == "slide":
        crop, stride = inference.get("crop_size"), inference.get("stride")
        if crop is None or stride is None:
            raise ValueError("config key inference: mode 'slide' needs crop_size and stride in pixels; set both, or "
                             "inference.mode='whole'")
        scores = predict_slide(_predictor(model), sample["image"], crop, stride, sample["original_size"])
    else:
        raise ValueError(f"config key inference.mode: expected 'slide' or 'whole', got {mode!r}")
    return scores.argmax(axis=0).astype(np.uint8)


def evaluate(model: Any, dataset: Any, inference: Mapping[str, Any], log: RunLog) -> Dict[str, Any]:
    """Metrics of `model` on a labelled dataset, over all ranks: see `jseg.evaluation.summarise`."""
    confusion = ConfusionMatrix(len(dataset.class_names))
    for _, sample in _samples(dataset, log, "evaluated"):
        confusion.update(class_map(model, sample, inference), sample["label"])
    total = all_reduce_sum(confusion.matrix)
    return summarise(total, dataset.class_names, dataset.unseen)


def save_predictions(model: Any, dataset: Any, inference: Mapping[str, Any], folder: str, log: RunLog) -> int:
    """Writes one palette PNG (pixel = class index from 0, without a background) for each picture of `dataset`; returns how many are on this rank.

    Raises:
        OSError: the folder cannot be written.
    """
    os.makedirs(folder, exist_ok=True)
    count = 0
    for _, sample in _samples(dataset, log, "segmented"):
        path = os.path.join(folder, sample["name"] + ".png")
        os.makedirs(os.path.dirname(path), exist_ok=True)
        save_mask(path, class_map(model, sample, inference), dataset.palette)
        count += 1
    return count


def _samples(dataset: Any, log: RunLog, verb: str) -> Iterator[Tuple[int, Mapping[str, Any]]]:
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


def _predictor(model: Any) -> PredictFn:
    def predict(image: np.ndarray) -> np.ndarray:
        with jt.no_grad():
            return model.predict(jt.array(np.ascontiguousarray(image, np.float32))).numpy()
    return predict


def _patch(model: Any) -> int:
    """Patch size in pixels, to which whole pictures are filled up; 1 for models without patches."""
    return int(getattr(model, "patch_size", 1))
