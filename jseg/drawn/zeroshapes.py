"""ZeroShapes, a small zero-shot segmentation dataset that is drawn instead of downloaded.

Its images show textured objects on a cluttered background. A class is a colour and a shape. Every colour and
every shape occurs among the seen classes, so an unseen class is a new combination of known words, as it is
for a CLIP that met the words on the web. An image depends only on (seed, split, index).
"""

import math
from functools import partial

import numpy as np

from jseg.datasets.classes import load_class_list
from jseg.drawn.scene import Canvas, Scene, background, check_sizes, generator_of, surface

# Hue of each colour in degrees. Drawn hues deviate by at most HUE_JITTER, so that colours never overlap.
COLOURS: dict[str, float] = {"red": 0.0, "yellow": 55.0, "green": 125.0, "blue": 220.0, "purple": 295.0}
SHAPES: tuple[str, ...] = ("circle", "triangle", "cross", "ring")
HUE_JITTER = 10.0

# Each colour with each shape, in the order of the two. One class of each colour is unseen, with a different
# shape for successive colours, so that no shape loses more than two classes.
CLASSES = load_class_list("zeroshapes")
EDITION = 2  # edition of the drawing code: another edition draws other images


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
    rng = generator_of(seed, split, index)
    check_sizes((1, max_objects), size, radius)
    canvas = Canvas(background(rng, size))
    for _ in range(int(rng.integers(1, max_objects + 1))):
        class_index = int(rng.integers(len(CLASSES.names)))
        outline = partial(_coverage, SHAPES[class_index % len(SHAPES)])
        cover = canvas.find_place(rng, outline, radius)
        if cover is not None:
            hue = list(COLOURS.values())[class_index // len(SHAPES)] + rng.uniform(-HUE_JITTER, HUE_JITTER)
            canvas.place(class_index, cover, surface(rng, hue, cover.alpha.shape))
    return canvas.scene(rng)


def altered_classes(rng: np.random.Generator, classes: tuple[int, ...]) -> tuple[int, ...]:
    """Returns the objects of another scene, with the same colours but two shapes swapped or one replaced.

    Captions of these objects are wrong only in how they combine words (the hard negatives of Yuksekgonul et
    al., ICLR 2023).
    """
    count = len(SHAPES)
    altered = list(classes)
    i, j = rng.integers(len(altered), size=2)
    (colour_i, shape_i), (colour_j, shape_j) = divmod(altered[i], count), divmod(altered[j], count)
    if colour_i != colour_j and shape_i != shape_j and rng.random() < 0.5:
        altered[i], altered[j] = colour_i * count + shape_j, colour_j * count + shape_i
    else:
        altered[i] = colour_i * count + int(shape_i + rng.integers(1, count)) % count
    return tuple(altered)


def augmented(rng: np.random.Generator, images: np.ndarray) -> np.ndarray:
    """Returns the images (B, size, size, 3) turned by quarters and flipped: eight images of each."""
    made = np.empty_like(images)
    turns, flips = rng.integers(4, size=len(images)), rng.random(len(images)) < 0.5
    for row, image, turn, flip in zip(made, images, turns, flips):
        turned = np.rot90(image, turn)
        row[...] = turned[:, ::-1] if flip else turned
    return made


def _coverage(
    shape: str, rng: np.random.Generator, rows: slice, columns: slice, centre: np.ndarray, r: float
) -> np.ndarray:
    """Computes the share of each pixel inside the shape from the signed distance to its outline."""
    angle = rng.uniform(0, 2 * math.pi)
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
