"""The test recipe of a config: resizing and normalisation of images, and the windows passed to the model."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jseg.datasets.pipeline import build_pipeline
from jseg.datasets.transforms import Transform
from jseg.inference.windows import WindowPlan, scaled_copies, slide_plan, whole_plan


@dataclass(frozen=True)
class TestRecipe:
    """The transforms of the dataset, and `inference` of the config.

    Attributes:
        transforms: transforms of a pipeline in test mode.
        inference: `mode` 'whole' or 'slide', for the latter `crop_size` and `stride` in pixels; `scales` and
            `flip` of test-time augmentation.
        patch_size: patch size of the model. Whole images are padded to multiples of it.
    """

    __test__ = False  # not a class of tests, despite its name

    transforms: tuple[Transform, ...]
    inference: Mapping[str, Any]
    patch_size: int = 1

    @classmethod
    def from_config(cls, config: Mapping[str, Any], patch_size: int) -> "TestRecipe":
        """Returns the recipe of `dataset.test`, or of `dataset.val` if there is no test set.

        Raises:
            ValueError: if the pipeline or `inference` is invalid.
        """
        parts = config.get("dataset") or {}
        part = parts.get("test") or parts.get("val") or {}
        inference = {"mode": "whole", "scales": (1.0,), "flip": False, **config.get("inference", {})}
        check_inference(inference)
        return cls(build_pipeline(part.get("pipeline"), test_mode=True), inference, patch_size)

    def prepare(self, image: np.ndarray) -> np.ndarray:
        """RGB uint8 (H, W, 3) -> float32 (3, h, w), resized and normalised."""
        sample: dict[str, Any] = {"image": image, "name": ""}
        for transform in self.transforms:
            sample = transform(sample, np.random.default_rng(0))
        return np.ascontiguousarray(sample["image"].transpose(2, 0, 1), np.float32)

    def copies(self, prepared: np.ndarray) -> Iterator[tuple[np.ndarray, WindowPlan, bool]]:
        """Each copy (3, h, w) of a prepared image, the windows of it, and whether it is mirrored."""
        for copy, mirrored in scaled_copies(prepared, self.inference["scales"], self.inference["flip"]):
            yield copy, self.plan((copy.shape[1], copy.shape[2])), mirrored

    def plan(self, size: tuple[int, int]) -> WindowPlan:
        """The windows that cover an image of (h, w) pixels."""
        if self.inference["mode"] == "whole":
            return whole_plan(size, self.patch_size)
        return slide_plan(size, self.inference["crop_size"], self.inference["stride"])


def check_inference(inference: Mapping[str, Any]) -> None:
    """Checks the config's `inference` before training.

    Raises:
        ValueError: if the mode is not 'slide' or 'whole', 'slide' has no crop_size or stride, or scales are
            invalid.
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
