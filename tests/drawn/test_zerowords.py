"""ZeroWords: reproducible, with outlines that differ, and unseen words that no seen word contains."""

import numpy as np
import pytest

from jseg.drawn import DRAWN, SPLITS
from jseg.drawn.outlines import OUTLINES
from jseg.drawn.zerowords import CLASSES, augmented, draw_for_pretraining, draw_scene
from jseg.labels import IGNORE_INDEX

# draw_scene(0, "test", 3): label, its pixels, their mean RGB.
PINNED = [
    (6, 494, (236.21, 179.19, 200.45)),
    (12, 253, (119.10, 180.64, 232.67)),
    (15, 506, (104.99, 208.50, 162.78)),
    (23, 1391, (165.56, 164.64, 204.46)),
    (IGNORE_INDEX, 6572, (74.17, 76.24, 66.37)),
]


def test_words_are_outlines_and_every_fourth_is_unseen() -> None:
    assert CLASSES.names == tuple(OUTLINES) and len(OUTLINES) == 24
    assert CLASSES.unseen == tuple(range(3, 24, 4))
    words = [CLASSES.names[index] for index in CLASSES.unseen]
    assert words == ["moon", "cup", "leaf", "flag", "mushroom", "gear"]
    assert len({tuple(colour) for colour in CLASSES.palette.tolist()}) == 24


def test_outlines_are_within_the_circle_and_differ_within_and_between_words() -> None:
    y, x = np.mgrid[-1.3:1.3:131j, -1.3:1.3:131j]
    drawn = {
        word: [outline(np.random.default_rng(seed))(x, y) for seed in range(3)]
        for word, outline in OUTLINES.items()
    }
    for word, objects in drawn.items():
        for inside in objects:
            assert 0.15 < inside.sum() * 0.02**2 < 3.0, word
            assert not inside[np.maximum(abs(x), abs(y)) > 1.1].any(), word
        assert (objects[0] != objects[1]).any(), word
    means = np.stack([np.mean(objects, axis=0) for objects in drawn.values()])
    apart = np.abs(means[:, None] - means[None]).mean((2, 3))
    assert apart[~np.eye(24, dtype=bool)].min() > 0.02


def test_seed_split_and_index_each_matter_and_nothing_else() -> None:
    keys = [
        (3, "val", 5),
        (4, "val", 5),
        (3, "val", 6),
        *((3, split, 5) for split in SPLITS if split != "val"),
    ]
    assert len({draw_scene(*key).image.tobytes() for key in keys}) == len(keys)
    np.random.seed(1)
    np.testing.assert_array_equal(draw_scene(3, "val", 5).image, draw_scene(3, "val", 5).image)


def test_the_generator_has_not_changed() -> None:
    """Published numbers belong to these images; see the test of ZeroShapes."""
    scene = draw_scene(0, "test", 3)
    for value, count, mean in PINNED:
        inside = scene.label == value
        assert abs(int(inside.sum()) - count) <= 3, value
        assert np.abs(scene.image[inside].mean(axis=0) - mean).max() < 0.5, value
    assert {value for value, _, _ in PINNED} == set(np.unique(scene.label))


def test_images_hold_three_to_five_objects_of_all_words_in_any_colour() -> None:
    counts, classes = set(), np.zeros(24, int)
    for index in range(120):
        scene = draw_scene(7, "train", index)
        assert scene.image.shape == (96, 96, 3) and scene.label.shape == (96, 96)
        assert set(np.unique(scene.label)) - {IGNORE_INDEX} <= set(scene.classes)
        assert (scene.label == IGNORE_INDEX).mean() > 0.2
        counts.add(len(scene.classes))
        classes[list(scene.classes)] += 1
    assert counts <= {2, 3, 4, 5} and {3, 4, 5} <= counts and (classes > 5).all()


def test_pretraining_crops_and_mirrors() -> None:
    scene = draw_for_pretraining(0, 1, 64, (1, 1))
    assert scene.image.shape == (72, 72, 3) and len(scene.classes) == 1
    crops = augmented(np.random.default_rng(0), np.stack([scene.image] * 8))
    assert crops.shape == (8, 64, 64, 3) and len({crop.tobytes() for crop in crops}) == 8


@pytest.mark.parametrize("name", DRAWN)
def test_altered_scenes_are_another(name: str) -> None:
    rng, dataset = np.random.default_rng(0), DRAWN[name]
    for index in range(40):
        classes = dataset.draw(7, "train", index, dataset.size).classes
        altered = dataset.altered(rng, classes)
        assert len(altered) == len(classes) and sorted(altered) != sorted(classes)


def test_unknown_split_and_sizes_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match=r"'training'.*\btrain\b.*\bval\b"):
        draw_scene(0, "training", 0)
    with pytest.raises(ValueError, match="objects of radius 17"):
        draw_scene(0, "train", 0, size=30)
