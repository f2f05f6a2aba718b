"""Masks of samples. Windows of consecutive images are computed together where memory allows it.

A GPU computes while Python goes on. So a batch is launched before the masks of the batch before it are handed
out, and its own masks are fetched after that.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias, TypeVar

import numpy as np

from jseg.datasets import Sample
from jseg.datasets.transforms import MAX_ASPECT
from jseg.distributed import alive
from jseg.inference.grid import grid_copy, grid_mask
from jseg.inference.recipe import TestRecipe
from jseg.inference.softmax_map import softmax_map
from jseg.inference.windows import Pass, PredictFn, WindowPlan, class_map, cut_windows, predict_windows
from jseg.models.segmentors import Segmentor
from jseg.models.segmentors.base import GridScores
from jseg.runner.log import RunLog
from jseg.runtime.backend import jt
from jseg.runtime.memory import INFERENCE, OutOfMemory, memory_advice

_WINDOWS_TOGETHER = 4  # of an image
_USUAL_SIDE = 512  # pixels; windows of several images need no more memory than _WINDOWS_TOGETHER of this size
_MOST_WINDOWS = 16  # of several images

Mask: TypeAlias = jt.Var | np.ndarray
"""uint8 (1, H, W), which the GPU may still be computing, or (H, W)."""
Result = TypeVar("Result")


def predict_mask(model: Segmentor, sample: Sample, inference: Mapping[str, Any]) -> np.ndarray:
    """Returns the class indices (H, W), uint8, of one sample at its original size.

    Args:
        model: segmentor whose `predict` already subtracts the bias from seen classes.
        sample: sample of a dataset in test mode, with `image` float32 (3, h, w) and `original_size`.
        inference: see `jseg.inference.recipe`.
    """
    return _fetched(_launch(model, sample, TestRecipe((), inference, model.patch_size)))


@dataclass(frozen=True)
class _Image:
    """A sample with its index in the dataset, and its copy and the windows of it, if it has one copy only."""

    index: int
    sample: Sample
    only_copy: tuple[np.ndarray, WindowPlan, bool] | None


class Predictor:
    """Segments the samples of a dataset.

    Args:
        model, inference: see `predict_mask`.
        num_classes: number of classes of the dataset.
        log: receives warnings.
        left_out: collects the names of images that do not fit into memory, with reasons. If None, the first
            one raises.
    """

    def __init__(
        self,
        model: Segmentor,
        inference: Mapping[str, Any],
        num_classes: int,
        log: RunLog,
        left_out: dict[str, str] | None = None,
    ) -> None:
        self._model, self._log, self._left_out = model, log, left_out
        self._recipe = TestRecipe((), inference, model.patch_size)
        self._queries = max(model.num_regions, 1) * num_classes
        self._has_one_copy = len(inference["scales"]) == 1 and not inference["flip"]
        self._shares_memory = True

    def masks(self, samples: Iterable[tuple[int, Sample]]) -> Iterator[tuple[int, Sample, np.ndarray]]:
        """Yields (index, sample, mask) for each (index, sample), in their order; masks as in `predict_mask`.

        Raises:
            OutOfMemory: if an image does not fit into memory; see `left_out`. The message names it.
        """
        launched: list[tuple[_Image, Mask]] = []
        for group in self._groups(samples):
            done = self._fetch(launched)
            launched = self._launch(group)
            yield from done
        yield from self._fetch(launched)

    def _groups(self, samples: Iterable[tuple[int, Sample]]) -> Iterator[list[_Image]]:
        """Consecutive images whose windows are computed in one batch."""
        group: list[_Image] = []
        crop, windows = None, 0
        for index, sample in samples:
            image = _Image(index, sample, self._only_copy(sample))
            plan = image.only_copy[1] if image.only_copy else None
            most = self._most_windows(plan) if plan and self._shares_memory else 0
            own = len(plan.positions) if plan else 1
            if group and (plan is None or plan.crop != crop or windows + own > most):
                yield group
                group, windows = [], 0
            group.append(image)
            crop, windows = plan.crop if plan else None, windows + own
            if windows >= most:
                yield group
                group, windows = [], 0
        if group:
            yield group

    def _only_copy(self, sample: Sample) -> tuple[np.ndarray, WindowPlan, bool] | None:
        return next(self._recipe.copies(sample["image"])) if self._has_one_copy else None

    def _most_windows(self, plan: WindowPlan) -> int:
        """Number of windows of several images that are computed together.

        The encoder needs most memory for its patches. The decoder has a query for each class of each region,
        however small the window is, which needs less than a patch.
        """
        usual, pixels = _USUAL_SIDE**2, plan.crop[0] * plan.crop[1]
        queries = self._queries * self._model.patch_size**2  # in pixels
        share = min(usual / pixels, max(usual, queries) / max(pixels, queries))
        return min(int(_WINDOWS_TOGETHER * share), _MOST_WINDOWS)

    def _launch(self, group: Sequence[_Image]) -> list[tuple[_Image, Mask]]:
        for image in group:
            self._warn_of_thin(image.sample)
        if len(group) > 1:
            try:
                with memory_advice(INFERENCE):
                    return list(zip(group, _launch_together(self._model, group, self._recipe)))
            except OutOfMemory:
                self._shares_memory = False  # and after this block, since the error holds on to arrays
            self._log.info(
                f"warning: {len(group)} images together do not fit into memory; from "
                f"{group[0].sample['name']} on, they are computed one by one"
            )
        return self._one_by_one(
            [(image, partial(_launch, self._model, image.sample, self._recipe)) for image in group]
        )

    def _fetch(self, launched: Sequence[tuple[_Image, Mask]]) -> list[tuple[int, Sample, np.ndarray]]:
        alive("segmenting an image")
        fetched = self._one_by_one([(image, partial(_fetched, mask)) for image, mask in launched])
        return [(image.index, image.sample, mask) for image, mask in fetched]

    def _one_by_one(
        self, tasks: Sequence[tuple[_Image, Callable[[], Result]]]
    ) -> list[tuple[_Image, Result]]:
        """The images with the results of their tasks, without those that are left out."""
        results = []
        for image, task in tasks:
            try:
                with memory_advice(INFERENCE):
                    results.append((image, task()))
            except OutOfMemory as error:
                named = f"{_described(image.sample)}: {error}"
                if self._left_out is None:
                    raise OutOfMemory(named) from error
                self._left_out[image.sample["name"]] = named
        return results

    def _warn_of_thin(self, sample: Sample) -> None:
        height, width = sample["original_size"]
        if max(height, width) > MAX_ASPECT * min(height, width):
            self._log.info(
                f"warning: {_described(sample)} is more than {MAX_ASPECT} times as long as wide and will be "
                "squeezed"
            )


def _described(sample: Sample) -> str:
    height, width = sample["original_size"]
    return f"image {sample['name']} of {width}x{height} pixels"


def _launch(model: Segmentor, sample: Sample, recipe: TestRecipe) -> Mask:
    """The mask of one image, whose windows are computed a few at a time."""
    copies, bias = [], None
    for copy, plan, mirrored in recipe.copies(sample["image"]):
        scores = [_grid_scores(model, batch) for batch in _batches(copy, plan)]
        if scores[0] is None:
            return _mask_of_full_scores(model, sample, recipe)
        logits = [part.logits for part in scores if part]
        copies.append(grid_copy(logits, plan, mirrored, model.patch_size))
        bias = scores[0].bias
    assert bias is not None
    return grid_mask(copies, sample["original_size"], bias)


def _launch_together(model: Segmentor, group: Sequence[_Image], recipe: TestRecipe) -> list[Mask]:
    """The masks of images with one copy each, whose windows are of one shape and computed in one batch."""
    copies = [image.only_copy for image in group if image.only_copy]
    windows = [window for copy, plan, _ in copies for window in cut_windows(copy, plan)]
    scores = _grid_scores(model, np.stack(windows))
    if scores is None:
        return [_mask_of_full_scores(model, image.sample, recipe) for image in group]
    masks: list[Mask] = []
    start = 0
    for image, (_, plan, mirrored) in zip(group, copies):
        own = scores.logits[start : start + len(plan.positions)]
        start += len(plan.positions)
        copy = grid_copy([own], plan, mirrored, model.patch_size)
        masks.append(grid_mask([copy], image.sample["original_size"], scores.bias))
    return masks


def _fetched(mask: Mask) -> np.ndarray:
    return mask if isinstance(mask, np.ndarray) else mask.numpy()[0]


def _mask_of_full_scores(model: Segmentor, sample: Sample, recipe: TestRecipe) -> np.ndarray:
    """The mask by models whose scores exist at the size of the image alone."""
    predictor = _predict_function(model)
    passes = [
        Pass(predict_windows(predictor, copy, plan), mirrored)
        for copy, plan, mirrored in recipe.copies(sample["image"])
    ]
    size, softmax = sample["original_size"], model.late_softmax
    found = class_map(passes, size) if softmax is None else softmax_map(passes, size, *softmax)
    return found.mask.astype(np.uint8)


def _predict_function(model: Segmentor) -> PredictFn:
    def predict(image: np.ndarray) -> np.ndarray:
        alive("segmenting an image")
        with jt.no_grad():
            return model.predict(jt.array(np.ascontiguousarray(image, np.float32))).numpy()

    return predict


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
