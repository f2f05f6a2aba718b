"""Photometric distortion of the released recipe: random brightness, contrast, saturation and hue."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jseg.datasets.transforms import TRANSFORMS, Transform

_PIXELS_AT_ONCE = 1 << 13


@TRANSFORMS.register()
class PhotometricDistortion(Transform):
    """Distorts the colours of a uint8 RGB image (mmsegmentation's PhotoMetricDistortion).

    In order: brightness; contrast (here or at the end, at random); saturation; hue. Each is applied with
    probability 1/2 and clips to uint8. Saturation and hue share one conversion to HSV and back, so the image
    is rounded once where the original rounds twice.

    Args:
        brightness_delta: the added value is uniform in +-delta.
        contrast_range, saturation_range: range of the uniform factor.
        hue_delta: an integer uniform in [-delta, delta) is added, on OpenCV's 0..179 hue circle.
    """

    def __init__(
        self,
        brightness_delta: float = 32,
        contrast_range: Sequence[float] = (0.5, 1.5),
        saturation_range: Sequence[float] = (0.5, 1.5),
        hue_delta: int = 18,
    ) -> None:
        ranges = {"contrast_range": contrast_range, "saturation_range": saturation_range}
        for option, (low, high) in ranges.items():
            if not 0 <= low <= high:
                raise ValueError(
                    f"PhotometricDistortion.{option}: ({low}, {high}) is not a range; "
                    "give (low, high) with 0 <= low <= high"
                )
        if brightness_delta < 0 or hue_delta < 0:
            raise ValueError("PhotometricDistortion: brightness_delta and hue_delta must be 0 or more")
        self.brightness_delta = brightness_delta
        self.contrast_range = (contrast_range[0], contrast_range[1])
        self.saturation_range = (saturation_range[0], saturation_range[1])
        self.hue_delta = hue_delta

    def __call__(self, sample: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        image = sample["image"]
        if rng.integers(2):
            image = _affine(image, 1.0, rng.uniform(-self.brightness_delta, self.brightness_delta))
        contrast_first = bool(rng.integers(2))
        contrast = rng.uniform(*self.contrast_range) if rng.integers(2) else 1.0
        if contrast_first:
            image = _affine(image, contrast, 0.0)
        saturation = rng.uniform(*self.saturation_range) if rng.integers(2) else 1.0
        turn = int(rng.integers(-self.hue_delta, self.hue_delta)) if rng.integers(2) and self.hue_delta else 0
        if saturation != 1.0 or turn:
            image = _shift_colours(image, turn, saturation)
        if not contrast_first:
            image = _affine(image, contrast, 0.0)
        return {**sample, "image": image}


def _shift_colours(image: np.ndarray, turn: int, saturation: float) -> np.ndarray:
    """Adds `turn` to the hue and multiplies the saturation, a few rows at a time so that arrays stay in
    cache."""
    result = np.empty(image.shape, np.uint8)
    rows = max(_PIXELS_AT_ONCE // image.shape[1], 1)
    for top in range(0, len(image), rows):
        hue, strength, value = rgb_to_hsv(image[top : top + rows])
        result[top : top + rows] = hsv_to_rgb((hue + turn) % 180, _affine(strength, saturation, 0.0), value)
    return result


def rgb_to_hsv(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Converts RGB uint8 to hue int16 0..179 (2 degrees per step), saturation uint8 and value uint8, each (H,
    W).

    Source: OpenCV's 8-bit RGB2HSV.
    """
    red, green, blue = (image[..., channel].astype(np.float32) for channel in range(3))
    top = np.maximum(np.maximum(red, green), blue)
    spread = top - np.minimum(np.minimum(red, green), blue)
    scale = np.float32(30) / np.maximum(spread, 1)
    hue = np.where(
        top == red,
        (green - blue) * scale,
        np.where(top == green, 60 + (blue - red) * scale, 120 + (red - green) * scale),
    )
    hue = np.floor(hue + np.float32(0.5)).astype(np.int16)
    hue[hue < 0] += 180
    saturation = np.floor(255 * spread / np.maximum(top, 1) + np.float32(0.5)).astype(np.uint8)
    return hue, saturation, top.astype(np.uint8)


def hsv_to_rgb(hue: np.ndarray, saturation: np.ndarray, value: np.ndarray) -> np.ndarray:
    """The inverse of `rgb_to_hsv`, uint8 (H, W, 3).

    A channel is v * (1 - s * clamp(min(k, 4 - k), 0, 1)) with k = (n + hue / 60 degrees) mod 6 and
    n = 5, 3, 1 for R, G, B.
    """
    index = hue.astype(np.intp)
    top = value.astype(np.float32)
    depth = top * saturation.astype(np.float32) / 255
    image = np.empty((*hue.shape, 3), np.uint8)
    for channel, ramp in enumerate(_RAMPS):
        image[..., channel] = top - depth * ramp[index] + np.float32(0.5)
    return image


def _hue_ramps() -> np.ndarray:
    """clamp(min(k, 4 - k), 0, 1) of `hsv_to_rgb` for R, G, B and every hue, float32 (3, 180)."""
    position = (np.array([[5], [3], [1]], np.float32) + np.arange(180, dtype=np.float32) / 30) % 6
    return np.clip(np.minimum(position, 4 - position), 0, 1)


def _affine(values: np.ndarray, factor: float, offset: float) -> np.ndarray:
    """Returns uint8 values * factor + offset, clipped and truncated (not rounded) to uint8, as in the
    original."""
    if factor == 1.0 and offset == 0.0:
        return values
    results = np.arange(256, dtype=np.float32) * np.float32(factor) + np.float32(offset)
    table = np.clip(results, 0, 255).astype(np.uint8)
    # Translating bytes is several times faster than arithmetic on float32 arrays, and than array indexing.
    return np.frombuffer(values.tobytes().translate(table.tobytes()), np.uint8).reshape(values.shape)


_RAMPS = _hue_ramps()
