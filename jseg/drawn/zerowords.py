"""ZeroWords, a zero-shot segmentation dataset whose unseen classes are words that never had a mask.

A class is one word for the outline of an object; colour and surface say nothing about it. Every fourth word
is unseen. Unlike in ZeroShapes, no part of its name occurs in a seen class, so that only the captions that
pretrained the CLIP connect the word with images. An object covers four to six patches in each direction, so
that no patch shows it whole. An image depends only on (seed, split, index).
"""

import math
from functools import partial

import numpy as np

from jseg.datasets.classes import load_class_list
from jseg.drawn.outlines import OUTLINES
from jseg.drawn.scene import Canvas, Scene, background, check_sizes, generator_of, surface

CLASSES = load_class_list("zerowords")
EDITION = 1  # edition of the drawing code: another edition draws other images

_STREAM = (1,)  # images of ZeroShapes have the streams without a further number
# Light objects on dark backgrounds: which pixels belong to an object is easy, which word it is, is not.
_DARK, _SATURATION, _VALUE = 0.45, (0.25, 0.6), (0.8, 1.0)
_SAMPLES = 3  # per pixel and direction
_MARGIN = 8  # pixels by which images for pretraining are larger than a crop


def draw_scene(
    seed: int,
    split: str,
    index: int,
    size: int = 96,
    objects: tuple[int, int] = (3, 5),
    radius: tuple[float, float] = (17.0, 23.0),
) -> Scene:
    """Draws image number `index` of a split.

    Args:
        seed: seed of the whole dataset.
        split: one of SPLITS, each of which has its own random stream.
        index: number of the image in its split.
        size: side of the square image in pixels.
        objects: smallest and largest number of objects, fewer if no place is found for them.
        radius: smallest and largest radius of an object in pixels.

    Raises:
        ValueError: if the split is unknown, there would be no objects, or the sizes do not match.
    """
    rng = generator_of(seed, split, index, _STREAM)
    check_sizes(objects, size, radius)
    canvas = Canvas(_DARK * background(rng, size) + rng.uniform(0, 0.12, 3))
    for _ in range(int(rng.integers(objects[0], objects[1] + 1))):
        class_index = int(rng.integers(len(CLASSES.names)))
        outline = partial(_coverage, CLASSES.names[class_index])
        cover = canvas.find_place(rng, outline, radius)
        if cover is not None:
            look = surface(rng, rng.uniform(0, 360), cover.alpha.shape, _SATURATION, _VALUE)
            canvas.place(class_index, cover, look)
    return canvas.scene(rng)


def _coverage(
    word: str, rng: np.random.Generator, rows: slice, columns: slice, centre: np.ndarray, r: float
) -> np.ndarray:
    """Computes the share of each pixel inside an object, which is turned by up to 25 degrees, mirrored half
    of the time, and stretched by up to 14 %."""
    angle, mirror = math.radians(rng.uniform(-25, 25)), 1 if rng.random() < 0.5 else -1
    stretch = rng.uniform(0.88, 1.14)
    inside = OUTLINES[word](rng)
    steps = (np.arange(_SAMPLES) + 0.5) / _SAMPLES
    y = ((np.arange(rows.start, rows.stop)[:, None] + steps).reshape(-1, 1) - centre[0]) / r
    x = ((np.arange(columns.start, columns.stop)[:, None] + steps).reshape(1, -1) - centre[1]) / r
    u = mirror * stretch * (math.cos(angle) * x + math.sin(angle) * y)
    v = (math.cos(angle) * y - math.sin(angle) * x) / stretch
    found = inside(u, v).astype(np.float64)
    return found.reshape(y.size // _SAMPLES, _SAMPLES, x.size // _SAMPLES, _SAMPLES).mean((1, 3))


def altered_classes(rng: np.random.Generator, classes: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the objects of another scene, in which one word is replaced."""
    altered = list(classes)
    place, count = int(rng.integers(len(altered))), len(CLASSES.names)
    altered[place] = int(altered[place] + rng.integers(1, count)) % count
    return tuple(altered)


def draw_for_pretraining(seed: int, index: int, size: int, objects: tuple[int, int]) -> Scene:
    """Draws an image that is larger than a crop of `size` pixels, for `augmented`."""
    return draw_scene(seed, "pretrain", index, size + _MARGIN, objects)


def augmented(rng: np.random.Generator, images: np.ndarray) -> np.ndarray:
    """Returns random crops, half of them mirrored, of images (B, side, side, 3)."""
    size = images.shape[1] - _MARGIN
    made = np.empty((len(images), size, size, 3), np.uint8)
    places, flips = rng.integers(0, _MARGIN + 1, (len(images), 2)), rng.random(len(images)) < 0.5
    for row, image, (top, left), flip in zip(made, images, places, flips):
        crop = image[top : top + size, left : left + size]
        row[...] = crop[:, ::-1] if flip else crop
    return made
