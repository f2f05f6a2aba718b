"""Captions of drawn scenes."""

from collections.abc import Sequence

import numpy as np

CAPTION_FORMS: tuple[str, ...] = (
    "a photo of {}",
    "a photo of {}.",
    "this is a photo of {}.",
    "{} in the scene.",
    "a photo of {} in the scene.",
    "there is {} in the scene.",
    "{}",
)


def with_article(name: str) -> str:
    """The name of an object after "a" or "an"."""
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def caption(rng: np.random.Generator, classes: Sequence[int], names: Sequence[str]) -> str:
    """Returns an English sentence that names the given objects in random order.

    Args:
        classes: class of each object. names: class words.
    """
    named = " and ".join(with_article(names[i]) for i in rng.permutation(np.array(classes)))
    return CAPTION_FORMS[int(rng.integers(len(CAPTION_FORMS)))].format(named)
