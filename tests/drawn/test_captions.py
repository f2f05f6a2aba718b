"""Captions of drawn scenes: complete where they are true, wrong in the shapes alone where they are not."""

import re

import numpy as np

from jseg.drawn import CAPTION_FORMS, DRAWN, caption
from jseg.drawn.zeroshapes import CLASSES, SHAPES, altered_classes, draw_scene


def test_a_caption_names_every_object_as_often_as_it_occurs() -> None:
    rng = np.random.default_rng(0)
    for scene in (draw_scene(7, "train", index) for index in range(60)):
        named = re.findall(
            r"a (\w+ (?:circle|triangle|cross|ring))", caption(rng, scene.classes, CLASSES.names)
        )
        assert sorted(named) == sorted(CLASSES.names[i] for i in scene.classes)


def test_order_and_form_vary() -> None:
    texts = {caption(np.random.default_rng(seed), (0, 5), CLASSES.names) for seed in range(200)}
    assert len(texts) == 2 * len(CAPTION_FORMS)
    assert "a photo of a red circle and a yellow triangle." in texts


def test_altered_classes_keep_the_colours_and_are_not_the_scene() -> None:
    """Wrong in the binding of words alone: as many objects, the
    same colours, at least one other shape."""
    rng = np.random.default_rng(0)
    for scene in (draw_scene(7, "train", index) for index in range(100)):
        altered = altered_classes(rng, scene.classes)
        assert [index // len(SHAPES) for index in altered] == [
            index // len(SHAPES) for index in scene.classes
        ]
        assert sorted(altered) != sorted(scene.classes)


def test_same_generator_same_caption() -> None:
    assert len({caption(np.random.default_rng(4), (1, 2, 3), CLASSES.names) for _ in range(3)}) == 1


def test_an_before_a_vowel() -> None:
    words = DRAWN["zerowords"].classes.names
    texts = {caption(np.random.default_rng(seed), [words.index("umbrella"), 0], words) for seed in range(60)}
    assert all("an umbrella" in text and "a star" in text for text in texts)
