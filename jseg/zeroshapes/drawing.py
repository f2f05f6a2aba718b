"""ZeroShapes, a small zero-shot segmentation dataset that is drawn instead of downloaded.

Its images show textured objects on a cluttered background. A class is a colour and a shape. Every colour and
every shape occurs among the seen classes, so an unseen class is a new combination of known words, as it is
for a CLIP that met the words on the web. An image depends only on (seed, split, index), and is drawn with
NumPy alone.
"""

import colorsys
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from jseg.datasets.classes import load_class_list
from jseg.labels import IGNORE_INDEX

# Hue of each colour in degrees. Drawn hues deviate by at most HUE_JITTER, so that colours never overlap.
COLOURS: dict[str, float] = {"red": 0.0, "yellow": 55.0, "green": 125.0, "blue": 220.0, "purple": 295.0}
SHAPES: tuple[str, ...] = ("circle", "triangle", "cross", "ring")
HUE_JITTER = 10.0

# Each colour with each shape, in the order of the two. One class of each colour is unseen, with a different
# shape for successive colours, so that no shape loses more than two classes.
_CLASSES = load_class_list("zeroshapes")
CLASS_NAMES, PALETTE, UNSEEN = _CLASSES.names, _CLASSES.palette, _CLASSES.unseen
SPLITS: tuple[str, ...] = ("train", "val", "test", "pretrain")
EDITION = 2  # edition of the drawing code: another edition draws other images

# Share of an object that later objects must leave uncovered. With 0.5 and a fourth object, a linear probe on
# the patches of the tiny CLIP reaches 67 % accuracy on the classes. With these settings, it reaches 80 %.
_MIN_VISIBLE = 0.8


@dataclass(frozen=True)
class Scene:
    """A drawn image and its content."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    label: np.ndarray  # (H, W) uint8, class index, or IGNORE_INDEX where there is no object
    classes: tuple[int, ...]  # class of each object, from the lowest layer to the topmost


def draw_scene(
    seed: int,
    split: str,
    index: int,
    size: int = 64,
    max_objects: int = 3,
    radius: tuple[float, float] = (10.0, 17.0),
) -> Scene:
    """Draws image number `index` of a split.

    Args:
        seed: seed of the whole dataset.
        split: one of SPLITS, each of which has its own random stream.
        index: number of the image in its split.
        size: side of the square image in pixels.
        max_objects: largest number of objects. Numbers from 1 to this one are equally likely.
        radius: smallest and largest radius of an object in pixels.

    Raises:
        ValueError: if the split is unknown, there would be no objects, or the sizes do not match.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown ZeroShapes split '{split}'; choose one of {', '.join(SPLITS)}")
    if max_objects < 1 or size < 9 or not 0 < radius[0] <= radius[1] <= size / 2:
        raise ValueError(
            f"cannot draw up to {max_objects} objects of radius {radius[0]} to {radius[1]} on {size} "
            "pixels; give at least 1 object, at least 9 pixels, and radii of at most half the side"
        )
    rng = np.random.default_rng((seed, SPLITS.index(split), index))
    canvas = _background(rng, size)
    label = np.full((size, size), IGNORE_INDEX, np.uint8)
    drawn: list[int] = []
    areas: dict[int, int] = {}
    layer = np.full((size, size), -1, np.int16)
    for _ in range(int(rng.integers(1, max_objects + 1))):
        class_index = int(rng.integers(len(CLASS_NAMES)))
        place = _find_place(rng, SHAPES[class_index % len(SHAPES)], size, radius, layer, areas)
        if place is None:
            continue
        rows, columns, alpha = place
        inside = alpha > 0.5
        hue = list(COLOURS.values())[class_index // len(SHAPES)]
        texture = _texture(rng, hue, (alpha.shape[0], alpha.shape[1]))
        canvas[rows, columns] += alpha[..., None] * (texture - canvas[rows, columns])
        label[rows, columns][inside] = class_index
        layer[rows, columns][inside] = len(drawn)
        areas[len(drawn)] = int(inside.sum())
        drawn.append(class_index)
    canvas += rng.normal(0, 0.03, canvas.shape)
    return Scene((canvas.clip(0, 1) * 255).round().astype(np.uint8), label, tuple(drawn))


def _find_place(
    rng: np.random.Generator,
    shape: str,
    size: int,
    radius: tuple[float, float],
    layer: np.ndarray,
    areas: Mapping[int, int],
    tries: int = 20,
) -> tuple[slice, slice, np.ndarray] | None:
    """Returns a place (rows, columns, alpha) that does not cover too much of a lower object, or None."""
    for _ in range(tries):
        r = rng.uniform(*radius)
        centre = rng.uniform(0.7 * r, size - 0.7 * r, 2)
        low = np.maximum(np.floor(centre - 1.3 * r).astype(int), 0)
        high = np.minimum(np.ceil(centre + 1.3 * r).astype(int) + 1, size)
        rows, columns = slice(low[0], high[0]), slice(low[1], high[1])
        alpha = _coverage(shape, rows, columns, centre, r, rng.uniform(0, 2 * math.pi))
        covered = layer.copy()
        covered[rows, columns][alpha > 0.5] = -1
        if all((covered == i).sum() >= _MIN_VISIBLE * area for i, area in areas.items()):
            return rows, columns, alpha
    return None


def _coverage(
    shape: str, rows: slice, columns: slice, centre: np.ndarray, r: float, angle: float
) -> np.ndarray:
    """Computes the share of each pixel inside the shape from the signed distance to its outline."""
    y = (np.arange(rows.start, rows.stop) + 0.5 - centre[0])[:, None] / r
    x = (np.arange(columns.start, columns.stop) + 0.5 - centre[1])[None, :] / r
    u, v = math.cos(angle) * x + math.sin(angle) * y, math.cos(angle) * y - math.sin(angle) * x
    if shape == "circle":
        distance = np.hypot(u, v) - 0.95
    elif shape == "ring":
        distance = np.abs(np.hypot(u, v) - 0.75) - 0.25
    elif shape == "triangle":
        sides = [math.cos(a) * u + math.sin(a) * v for a in (math.pi / 2, math.pi * 7 / 6, math.pi * 11 / 6)]
        distance = np.maximum(np.maximum(sides[0], sides[1]), sides[2]) - 0.62
    else:  # cross
        u, v = np.abs(u), np.abs(v)
        distance = np.minimum(np.maximum(u - 1.05, v - 0.32), np.maximum(u - 0.32, v - 1.05))
    return (0.5 - distance * r).clip(0, 1)


def _texture(rng: np.random.Generator, hue: float, shape: tuple[int, int]) -> np.ndarray:
    """Draws a surface (h, w, 3) in 0..1 of one hue, with stripes, checks, dots or a ramp of brightness."""
    height, width = shape
    hue = (hue + rng.uniform(-HUE_JITTER, HUE_JITTER)) % 360 / 360
    base = np.array(colorsys.hsv_to_rgb(hue, rng.uniform(0.7, 1.0), rng.uniform(0.7, 1.0)))
    y, x = np.mgrid[:height, :width]
    angle, period = rng.uniform(0, math.pi), rng.uniform(4, 9)
    u = (math.cos(angle) * x + math.sin(angle) * y) * (2 * math.pi / period)
    v = (math.cos(angle) * y - math.sin(angle) * x) * (2 * math.pi / period)
    kind = rng.integers(5)
    if kind == 0:
        pattern = np.zeros((height, width))
    elif kind == 1:
        pattern = np.sign(np.sin(u))
    elif kind == 2:
        pattern = np.sign(np.sin(u) * np.sin(v))
    elif kind == 3:
        pattern = np.where(np.sin(u) + np.sin(v) > 1, 1.0, -0.3)
    else:
        pattern = (u - u.min()) / max(float(np.ptp(u)), 1e-6) * 2 - 1
    return base * (1 + rng.uniform(0.05, 0.18) * pattern)[..., None]


def _background(rng: np.random.Generator, size: int) -> np.ndarray:
    """Draws a background (size, size, 3) in 0..1 of low saturation, with blotches, bars and boxes."""
    blotches = _smooth_grid(6, size) @ rng.uniform(0.25, 0.75, (3, 6, 6)) @ _smooth_grid(6, size).T
    grey = blotches.mean(axis=0, keepdims=True)
    canvas = (grey + 0.25 * (blotches - grey)).transpose(1, 2, 0).copy()
    for _ in range(int(rng.integers(2, 7))):
        tone = rng.uniform(0.15, 0.85) + rng.uniform(-0.04, 0.04, 3)
        top, left = rng.integers(0, size, 2)
        height, width = rng.integers(2, size // 3, 2)
        if rng.random() < 0.5:  # a thin bar instead of a box
            height, width = (2, width) if rng.random() < 0.5 else (height, 2)
        canvas[top : top + height, left : left + width] = tone
    return canvas


@lru_cache(maxsize=8)
def _smooth_grid(points: int, size: int) -> np.ndarray:
    """Returns the matrix (size, points) of linear interpolation from a coarse grid to pixels."""
    position = np.linspace(0, points - 1, size)
    return np.maximum(0, 1 - np.abs(position[:, None] - np.arange(points)[None, :]))
