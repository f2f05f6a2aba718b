"""Photometric distortion of the released recipe: random brightness, contrast, saturation and hue."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jseg.datasets.transforms import TRANSFORMS, Transform

_PIXELS_AT_ONCE = 1 << 15


@TRANSFORMS.register()
class PhotometricDistortion(Transform):
    """Distorts the colours of a uint8 RGB image (mmsegmentation's PhotoMetricDistortion).

    In order: brightness; contrast (here or at the end, at random); saturation; hue. Each is applied with
    probability 1/2 and clips to uint8. Saturation and hue each convert to HSV and back, with the results of
    OpenCV's 8-bit conversions.

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
        if rng.integers(2):
            image = _saturated(image, rng.uniform(*self.saturation_range))
        if rng.integers(2) and self.hue_delta:
            image = _turned(image, int(rng.integers(-self.hue_delta, self.hue_delta)))
        if not contrast_first:
            image = _affine(image, contrast, 0.0)
        return {**sample, "image": image}


def _saturated(image: np.ndarray, factor: float) -> np.ndarray:
    return _in_hsv(image, lambda hue, saturation: (hue, _affine(saturation, factor, 0.0)))


def _turned(image: np.ndarray, turn: int) -> np.ndarray:
    """`turn` is in steps of 2 degrees."""
    table = bytes((hue + turn) % 180 for hue in range(256))
    return _in_hsv(image, lambda hue, saturation: (_translated(hue, table), saturation))


def _in_hsv(
    image: np.ndarray, change: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
) -> np.ndarray:
    """Replaces hue and saturation of the image by the results of `change`."""
    result = np.empty(image.shape, np.uint8)
    rows = max(_PIXELS_AT_ONCE // image.shape[1], 1)  # a few rows at a time stay in cache
    for top in range(0, len(image), rows):
        hue, saturation, value = rgb_to_hsv(image[top : top + rows])
        hsv_to_rgb(*change(hue, saturation), value, out=result[top : top + rows])
    return result


def rgb_to_hsv(image: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Converts RGB uint8 to hue 0..179 (2 degrees per step), saturation and value, uint8 (H, W) each.

    Source: OpenCV's 8-bit RGB2HSV (modules/imgproc/src/color_hsv.simd.hpp). Its fixed-point arithmetic with
    12 fractional bits is done here in float32, which holds every intermediate value exactly.
    """
    red, green, blue = (np.ascontiguousarray(image[..., channel]) for channel in range(3))
    value = np.maximum(np.maximum(red, green), blue)
    spread = value - np.minimum(np.minimum(red, green), blue)
    saturation = _fixed_point_ratio(255, value)
    saturation *= spread
    saturation += np.float32(0.5)
    hue = _fixed_point_ratio(30, spread)
    is_red, is_green = (-(value == channel).astype(np.int16) for channel in (red, green))
    red, green, blue, wide = (channel.astype(np.int16) for channel in (red, green, blue, spread))
    other = _select(is_green, blue - red + 2 * wide, red - green + 4 * wide)
    hue *= _select(is_red, green - blue, other)
    hue += np.float32(0.5)
    hue += (hue < 0) * np.float32(180)
    return hue.astype(np.uint8), saturation.astype(np.uint8), value


def _fixed_point_ratio(numerator: int, divisor: np.ndarray) -> np.ndarray:
    """numerator / divisor, float32, rounded to 12 fractional bits; divisor is uint8, where 0 counts as 1."""
    ratio = np.float32(numerator << 12) / np.maximum(divisor, 1).astype(np.float32)
    np.rint(ratio, out=ratio)
    ratio *= np.float32(2**-12)
    return ratio


def hsv_to_rgb(
    hue: np.ndarray, saturation: np.ndarray, value: np.ndarray, out: np.ndarray | None = None
) -> np.ndarray:
    """Inverse of `rgb_to_hsv`: uint8 arrays (H, W) -> uint8 (H, W, 3), written to `out` if it is given.

    The largest channel is v, the smallest v (1 - s), and the one between v (1 - s w), where w is the distance
    of the hue from that of the largest channel in units of 60 degrees. All are truncated, not rounded.

    Source: OpenCV's 8-bit HSV2RGB as its vector code with fused multiply-add computes it. (OpenCV
    rounds the last pixels of a row whose width is not a multiple of its vectors.)
    """
    image = np.empty((*hue.shape, 3), np.uint8) if out is None else out
    unit = value * _UNIT
    smallest = _cut(unit * (1 - saturation * _UNIT))
    middle = _cut(unit * _MIDDLE.take((hue.astype(np.uint16) << 8) + saturation))
    largest = _cut(unit)
    roles = _translated(hue, _ROLES)
    for channel in range(3):
        is_largest, is_middle = (-((roles >> bit) & 1) for bit in (channel, 3 + channel))
        image[..., channel] = _select(is_middle, middle, _select(is_largest, largest, smallest))
    return image


def _select(mask: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Returns `first` where all mask bits are set and `second` where none is. Faster than np.where."""
    return second ^ ((first ^ second) & mask)


def _cut(share: np.ndarray) -> np.ndarray:
    """Converts values in 0..1, which are overwritten, to uint8."""
    share *= np.float32(255)
    return share.astype(np.uint8)


def _translated(values: np.ndarray, table: bytes) -> np.ndarray:
    """Looks up uint8 values in a table of 256 bytes, several times faster than by array indexing."""
    return np.frombuffer(values.tobytes().translate(table), np.uint8).reshape(values.shape)


def _hue_tables() -> tuple[bytes, np.ndarray]:
    """For each hue: bits 0, 1, 2 for R, G or B being the largest channel, bits 3, 4, 5 for being the one
    between. And 1 - s w of `hsv_to_rgb` at [h << 8 | s], float32."""
    position = np.arange(180, dtype=np.float32) * np.float32(6 / 180)
    sector = np.trunc(position)
    distance = position - sector
    distance = np.where(sector % 2 == 0, 1 - distance, distance)
    # One rounding for the product and the difference, as a fused multiply-add has.
    saturation = np.arange(256, dtype=np.float32) * _UNIT
    product = distance.astype(np.float64)[:, None] * saturation.astype(np.float64)
    roles = np.array([1 | 16, 2 | 8, 2 | 32, 4 | 16, 4 | 8, 1 | 32], np.uint8)[sector.astype(np.intp)]
    return np.pad(roles, (0, 256 - 180)).tobytes(), (1 - product).astype(np.float32).ravel()


def _affine(values: np.ndarray, factor: float, offset: float) -> np.ndarray:
    """Returns uint8 values * factor + offset, clipped and truncated (not rounded) to uint8, as in the
    original."""
    if factor == 1.0 and offset == 0.0:
        return values
    results = np.arange(256, dtype=np.float32) * np.float32(factor) + np.float32(offset)
    table = np.clip(results, 0, 255).astype(np.uint8)
    return _translated(values, table.tobytes())


_UNIT = np.float32(1 / 255)
_ROLES, _MIDDLE = _hue_tables()
