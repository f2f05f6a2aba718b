"""The transforms of the released recipe: resize, crop, flip, normalise, pad.

A transform maps a sample dict to a sample dict, and draws all random numbers from the given generator. Keys:
`image` (H, W, 3), uint8 RGB until `Normalize` makes it float32, and in training `label` uint8 (H, W), 255
ignored. Input arrays are never modified. Names and arguments follow mmsegmentation.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from jseg.datasets.resample import resize_image, resize_label
from jseg.labels import IGNORE_INDEX
from jseg.registry import Registry

State = dict[str, Any]
Size = int | Sequence[int]

IMAGENET_MEAN = (123.675, 116.28, 103.53)
IMAGENET_STD = (58.395, 57.12, 57.375)
# Constants of OpenAI's CLIP, for zero-shot classification and for the CLIP trained on ZeroShapes. The
# releases of CLIP-RC do not use them.
CLIP_MEAN = (122.7709383, 116.7460125, 104.09373615)
CLIP_STD = (68.5005327, 66.6321579, 70.3231630)

MAX_ASPECT = 16
"""Largest aspect ratio. Without a limit, 1 x 3000 pixels would become 512 x 1,536,000, more than fits in
memory. Images of the benchmarks are at most 6 times as long as wide."""


def as_size(value: Size, option: str) -> tuple[int, int]:
    """Returns (height, width) from one number or a pair.

    Raises:
        ValueError: unless `value` is one or two positive integers. The message names `option`.
    """
    pair = (value, value) if isinstance(value, (int, np.integer)) else tuple(value)
    if len(pair) != 2 or not all(isinstance(side, (int, np.integer)) and side > 0 for side in pair):
        raise ValueError(
            f"{option}: {value!r} is not a size; use an integer number of pixels or (height, width)"
        )
    return int(pair[0]), int(pair[1])


class Transform:
    """One step of a pipeline."""

    @abstractmethod
    def __call__(self, sample: State, rng: np.random.Generator) -> State:
        """Returns the transformed sample; see the module docstring for its keys. Randomness comes from
        `rng`."""


TRANSFORMS = Registry("transform", Transform)


@TRANSFORMS.register()
class Resize(Transform):
    """Resize to fit a box, keeping the aspect ratio.

    Args:
        scale: (a, b). With r drawn from `ratio_range`, the image is resized to the largest size with a long
            side of at most int(r * max(a, b)) and a short side of at most int(r * min(a, b)).
        ratio_range: (low, high) of the uniform factor r. (1, 1) disables it.
    """

    def __init__(self, scale: Sequence[int] = (2048, 512), ratio_range: Sequence[float] = (1.0, 1.0)) -> None:
        self.scale = as_size(scale, "Resize.scale")
        low, high = ratio_range
        if not 0 < low <= high:
            raise ValueError(
                f"Resize.ratio_range: ({low}, {high}) is not a range of positive factors; "
                "give (low, high) with 0 < low <= high"
            )
        self.ratio_range = (float(low), float(high))

    def __call__(self, sample: State, rng: np.random.Generator) -> State:
        ratio = rng.uniform(*self.ratio_range)
        long_limit, short_limit = int(max(self.scale) * ratio), int(min(self.scale) * ratio)
        height, width = sample["image"].shape[:2]
        factor = min(long_limit / max(height, width), short_limit / min(height, width))
        return _resized(sample, (_scaled(height, factor), _scaled(width, factor)))


@TRANSFORMS.register()
class ResizeShortSide(Transform):
    """Resize so that the short side is exactly `short_side` pixels, keeping the aspect ratio.

    The long side is at most `MAX_ASPECT` times as long; longer images are squeezed to this ratio.

    Args:
        short_side: length in pixels.
    """

    def __init__(self, short_side: int = 512) -> None:
        self.short_side = as_size(short_side, "ResizeShortSide.short_side")[0]

    def __call__(self, sample: State, rng: np.random.Generator) -> State:
        height, width = sample["image"].shape[:2]
        factor, limit = self.short_side / min(height, width), self.short_side * MAX_ASPECT
        return _resized(sample, (min(_scaled(height, factor), limit), min(_scaled(width, factor), limit)))


@TRANSFORMS.register()
class RandomCrop(Transform):
    """Crops a window of `crop_size`, preferring windows with more than one class.

    The window is drawn again, at most `attempts` times, until it contains at least two classes (255 not
    counted) and the largest covers less than `cat_max_ratio` of the labelled pixels. The last draw is kept.
    Sides shorter than the crop are not cropped (`Pad` fills them). Without a label, the first draw is kept.

    Args:
        crop_size: one number or (height, width) in pixels.
        cat_max_ratio: largest accepted share of one class.
        attempts: number of draws.
    """

    def __init__(self, crop_size: Size = 512, cat_max_ratio: float = 0.75, attempts: int = 10) -> None:
        self.crop_size = as_size(crop_size, "RandomCrop.crop_size")
        if not 0 < cat_max_ratio <= 1:
            raise ValueError(
                f"RandomCrop.cat_max_ratio: {cat_max_ratio} is not a valid share; use a number "
                "above 0 and up to 1 (1 disables the rule)"
            )
        self.cat_max_ratio = cat_max_ratio
        self.attempts = attempts

    def __call__(self, sample: State, rng: np.random.Generator) -> State:
        shape = sample["image"].shape[:2]
        window = self._draw(shape, rng)
        if self.cat_max_ratio < 1 and "label" in sample:
            for _ in range(self.attempts):
                if self.is_balanced(sample["label"][window]):
                    break
                window = self._draw(shape, rng)
        return {**sample, **{key: sample[key][window] for key in ("image", "label") if key in sample}}

    def is_balanced(self, label: np.ndarray) -> bool:
        """Whether the window's label satisfies the rule on classes."""
        # Pillow counts bytes ten times faster than numpy.bincount, which first converts them to 64 bits.
        counts = np.array(Image.fromarray(np.ascontiguousarray(label)).histogram())
        counts[IGNORE_INDEX] = 0
        return bool(np.count_nonzero(counts) > 1 and counts.max() < self.cat_max_ratio * counts.sum())

    def _draw(self, shape: tuple[int, int], rng: np.random.Generator) -> tuple[slice, slice]:
        top = int(rng.integers(max(shape[0] - self.crop_size[0], 0) + 1))
        left = int(rng.integers(max(shape[1] - self.crop_size[1], 0) + 1))
        return slice(top, top + self.crop_size[0]), slice(left, left + self.crop_size[1])


@TRANSFORMS.register()
class RandomFlip(Transform):
    """Mirrors the image horizontally at random.

    Args:
        prob: probability.
    """

    def __init__(self, prob: float = 0.5) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f"RandomFlip.prob: {prob} is not a probability; use a number from 0 to 1")
        self.prob = prob

    def __call__(self, sample: State, rng: np.random.Generator) -> State:
        if rng.random() >= self.prob:
            return sample
        return {**sample, **{key: sample[key][:, ::-1] for key in ("image", "label") if key in sample}}


@TRANSFORMS.register()
class Normalize(Transform):
    """Computes (image - mean) / std per RGB channel, float32. The releases use ImageNet's values.

    Args:
        mean, std: red, green, blue on the scale of 0 to 255.
    """

    def __init__(self, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD) -> None:
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise ValueError(f"Normalize: mean {mean} and std {std} must be three numbers each, std positive")
        inverse_std = (1 / np.asarray(std, np.float64)).astype(np.float32)
        levels = np.arange(256, dtype=np.float32)[:, None]
        self._table = ((levels - np.asarray(mean, np.float32)) * inverse_std).T.copy()  # (3, 256)

    def __call__(self, sample: State, rng: np.random.Generator) -> State:
        image = sample["image"]
        if image.dtype != np.uint8:
            raise ValueError(
                f"Normalize: the image is {image.dtype}, but it must be uint8; apply Normalize only once"
            )
        # Channels are contiguous in memory, as the model needs them: (H, W, 3) is a view, so no copy is made
        # later.
        planes = np.empty((3, *image.shape[:2]), np.float32)
        for channel, table in enumerate(self._table):
            np.take(table, image[..., channel], out=planes[channel], mode="clip")
        return {**sample, "image": planes.transpose(1, 2, 0)}


@TRANSFORMS.register()
class Pad(Transform):
    """Pads to `size` at the right and bottom: image with `value`, label with 255. Longer sides are kept.

    Args:
        size: one number or (height, width) in pixels.
        value: value of the added pixels of the image.
    """

    def __init__(self, size: Size = 512, value: float = 0) -> None:
        self.size = as_size(size, "Pad.size")
        self.value = value

    def __call__(self, sample: State, rng: np.random.Generator) -> State:
        height, width = sample["image"].shape[:2]
        missing = ((0, max(self.size[0] - height, 0)), (0, max(self.size[1] - width, 0)))
        if missing == ((0, 0), (0, 0)):
            return sample
        padded = {**sample, "image": np.pad(sample["image"], (*missing, (0, 0)), constant_values=self.value)}
        if "label" in sample:
            padded["label"] = np.pad(sample["label"], missing, constant_values=IGNORE_INDEX)
        return padded


def _scaled(side: int, factor: float) -> int:
    return max(int(side * factor + 0.5), 1)


def _resized(sample: State, size: tuple[int, int]) -> State:
    resized = {**sample, "image": resize_image(sample["image"], size)}
    if "label" in sample:
        resized["label"] = resize_label(sample["label"], size)
    return resized
