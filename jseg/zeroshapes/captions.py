"""Captions of drawn scenes, both true ones and ones that only bind shapes to the wrong colours."""

from collections.abc import Sequence

import numpy as np

from jseg.zeroshapes.drawing import CLASS_NAMES, SHAPES

CAPTION_FORMS: tuple[str, ...] = (
    "a photo of {}",
    "a photo of {}.",
    "this is a photo of {}.",
    "{} in the scene.",
    "a photo of {} in the scene.",
    "there is {} in the scene.",
    "{}",
)


def caption(rng: np.random.Generator, classes: Sequence[int]) -> str:
    """Returns an English sentence that names the given objects in random order."""
    names = [CLASS_NAMES[i] for i in rng.permutation(np.array(classes))]
    return CAPTION_FORMS[int(rng.integers(len(CAPTION_FORMS)))].format(
        " and ".join(f"a {name}" for name in names)
    )


def altered_classes(rng: np.random.Generator, classes: Sequence[int]) -> tuple[int, ...]:
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
