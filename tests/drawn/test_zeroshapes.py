"""The ZeroShapes generator: reproducible, honest about seen and unseen, and drawn as its captions say."""

import colorsys
import re
from collections.abc import Iterator

import numpy as np
import pytest

from jseg.drawn import SPLITS, Scene
from jseg.drawn.scene import Canvas
from jseg.drawn.zeroshapes import CLASSES, COLOURS, HUE_JITTER, SHAPES, draw_scene
from jseg.labels import IGNORE_INDEX

MIN_VISIBLE = 0.8

# draw_scene(0, "test", 3): label, its pixels, their mean RGB.
PINNED_CLASSES = (2, 4, 14)
PINNED = [
    (2, 206, (184.64, 29.12, 15.90)),
    (4, 303, (183.89, 174.55, 31.03)),
    (14, 352, (43.99, 104.39, 188.02)),
    (IGNORE_INDEX, 3235, (130.04, 130.84, 133.74)),
]


def scenes(count: int, **options: object) -> Iterator[Scene]:
    return (draw_scene(7, "train", index, **options) for index in range(count))


def hue_of(pixels: np.ndarray) -> float:
    """Hue in degrees of the mean colour of (N, 3) uint8 pixels."""
    return 360 * colorsys.rgb_to_hsv(*(pixels.mean(axis=0) / 255))[0]


def hue_distance(a: float, b: float) -> float:
    return abs((a - b + 180) % 360 - 180)


def whole_areas(monkeypatch: pytest.MonkeyPatch, index: int, **options: object) -> tuple[Scene, list[int]]:
    """A scene, and the pixels each object would show if nothing lay on it, noted down while it is drawn."""
    areas: list[int] = []
    place = Canvas.place

    def noting_place(self: Canvas, class_index: int, cover, surface: np.ndarray) -> None:
        areas.append(int((cover.alpha > 0.5).sum()))
        place(self, class_index, cover, surface)

    with monkeypatch.context() as patch:
        patch.setattr(Canvas, "place", noting_place)
        return draw_scene(7, "train", index, **options), areas


class TestClasses:
    def test_fifteen_seen_and_five_unseen(self) -> None:
        assert len(CLASSES.names) == len(set(CLASSES.names)) == 20
        assert len(CLASSES.unseen) == len(set(CLASSES.unseen)) == 5
        assert list(CLASSES.names) == [f"{colour} {shape}" for colour in COLOURS for shape in SHAPES]

    def test_every_word_of_an_unseen_class_is_seen_elsewhere(self) -> None:
        seen = [CLASSES.names[i].split() for i in range(20) if i not in CLASSES.unseen]
        for words in (COLOURS, SHAPES):
            for word in words:
                assert sum(word in name for name in seen) >= 2, word

    def test_every_colour_has_an_unseen_class_and_every_shape_too(self) -> None:
        unseen = [CLASSES.names[i].split() for i in CLASSES.unseen]
        assert {name[0] for name in unseen} == set(COLOURS) and {name[1] for name in unseen} == set(SHAPES)

    def test_hues_can_be_told_apart(self) -> None:
        hues = list(COLOURS.values())
        nearest = min(hue_distance(a, b) for i, a in enumerate(hues) for b in hues[:i])
        assert nearest > 4 * HUE_JITTER

    def test_palette_is_distinct_and_of_the_right_hue(self) -> None:
        assert CLASSES.palette.shape == (20, 3) and CLASSES.palette.dtype == np.uint8
        assert len({tuple(colour) for colour in CLASSES.palette}) == 20
        for name, colour in zip(CLASSES.names, CLASSES.palette):
            assert hue_distance(hue_of(colour[None]), COLOURS[name.split()[0]]) < 2


class TestReproducibility:
    def test_same_arguments_same_scene_in_any_order(self) -> None:
        forward = {i: draw_scene(3, "val", i) for i in (0, 1, 2)}
        np.random.seed(1)  # the global state must not matter
        for i in (2, 0, 1):
            again = draw_scene(3, "val", i)
            assert np.array_equal(again.image, forward[i].image) and np.array_equal(
                again.label, forward[i].label
            )
            assert again.classes == forward[i].classes

    def test_seed_split_and_index_each_matter(self) -> None:
        keys = [
            (3, "val", 5),
            (4, "val", 5),
            (3, "val", 6),
            *((3, split, 5) for split in SPLITS if split != "val"),
        ]
        assert len({draw_scene(*key).image.tobytes() for key in keys}) == len(keys)

    def test_the_global_random_state_is_left_alone(self) -> None:
        np.random.seed(1)
        expected = np.random.random()
        np.random.seed(1)
        draw_scene(0, "train", 0)
        assert np.random.random() == expected

    def test_the_generator_has_not_changed(self) -> None:
        """Published numbers belong to these images. Counts and means instead of bytes: another NumPy or
        CPU may round a pixel differently, but it may not move an object or a colour."""
        scene = draw_scene(0, "test", 3)
        assert scene.classes == PINNED_CLASSES
        for value, count, mean in PINNED:
            inside = scene.label == value
            assert abs(int(inside.sum()) - count) <= 3, value
            assert np.abs(scene.image[inside].mean(axis=0) - mean).max() < 0.5, value
        assert {value for value, _, _ in PINNED} == set(np.unique(scene.label))


class TestImages:
    def test_sizes_and_types(self) -> None:
        scene = draw_scene(0, "train", 0, size=64, radius=(8.0, 14.0))
        assert scene.image.shape == (64, 64, 3) and scene.image.dtype == np.uint8
        assert scene.label.shape == (64, 64) and scene.label.dtype == np.uint8

    def test_labels_are_the_drawn_classes_or_background(self) -> None:
        for scene in scenes(60):
            assert set(np.unique(scene.label)) - {IGNORE_INDEX} == set(scene.classes)
            assert (scene.label == IGNORE_INDEX).mean() > 0.2

    def test_one_to_three_objects_of_all_classes(self) -> None:
        counts, classes = np.zeros(4, int), np.zeros(20, int)
        for scene in scenes(300):
            counts[len(scene.classes)] += 1
            classes[list(scene.classes)] += 1
        assert counts[0] == 0 and (counts[1:] > 40).all(), counts
        assert (classes > 15).all(), classes

    def test_max_objects(self) -> None:
        assert {len(scene.classes) for scene in scenes(30, max_objects=1)} == {1}

    def test_objects_have_the_hue_of_their_colour_word(self) -> None:
        """Drawn hues stray by HUE_JITTER; noise and clipping add a little."""
        checked = 0
        for scene in scenes(80):
            for index in set(scene.classes):
                colour = CLASSES.names[index].split()[0]
                hue = hue_of(scene.image[scene.label == index])
                assert hue_distance(hue, COLOURS[colour]) < HUE_JITTER + 12, (CLASSES.names[index], hue)
                checked += 1
        assert checked > 100

    def test_background_is_greyer_than_the_objects(self) -> None:
        for scene in scenes(30):
            ground = scene.image[scene.label == IGNORE_INDEX].astype(int)
            things = scene.image[scene.label != IGNORE_INDEX].astype(int)
            assert np.ptp(ground, axis=1).mean() < 0.5 * np.ptp(things, axis=1).mean()

    def test_shapes_fill_their_share_of_the_bounding_circle(self) -> None:
        """Areas over the squared radius, from the outlines: circle 0.95²π; ring (1² − 0.5²)π; triangle with
        inradius 0.62: 3√3 · 0.62²; cross: two bars 2.1 × 0.64 less their common square."""
        expected = {
            "circle": 0.95**2 * np.pi,
            "ring": 0.75 * np.pi,
            "triangle": 3 * 3**0.5 * 0.62**2,
            "cross": 2 * 2.1 * 0.64 - 0.64**2,
        }
        found = {shape: [] for shape in SHAPES}
        for index in range(150):
            scene = draw_scene(1, "train", index, size=160, max_objects=1, radius=(30.0, 30.0))
            inside = scene.label != IGNORE_INDEX
            if not (inside[0].any() or inside[-1].any() or inside[:, 0].any() or inside[:, -1].any()):
                found[CLASSES.names[scene.classes[0]].split()[1]].append(inside.sum() / 30.0**2)
        for shape, areas in found.items():
            assert len(areas) >= 5 and np.allclose(areas, expected[shape], rtol=0.02), shape

    def test_every_object_stays_half_visible(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Where no class occurs twice, the visible part of an object is its label."""
        covered = 0
        for index in range(60):
            scene, areas = whole_areas(monkeypatch, index, radius=(20.0, 30.0))
            assert len(areas) == len(scene.classes)
            if len(set(scene.classes)) == len(scene.classes):
                visible = [int((scene.label == i).sum()) for i in scene.classes]
                assert all(part >= MIN_VISIBLE * area for part, area in zip(visible, areas))
                assert visible[-1] == areas[-1]  # the topmost object
                covered += sum(part < area for part, area in zip(visible, areas))
        assert covered > 10, "nothing was covered: the test shows nothing"

    def test_unknown_split(self) -> None:
        with pytest.raises(ValueError, match=r"'training'.*\btrain\b.*\bval\b"):
            draw_scene(0, "training", 0)

    @pytest.mark.parametrize(
        "options",
        [
            {"size": 8, "radius": (1.0, 2.0)},
            {"size": 29},
            {"max_objects": 0},
            {"radius": (9.0, 8.0)},
            {"radius": (0.0, 8.0)},
        ],
    )
    def test_sizes_that_do_not_fit(self, options: dict) -> None:
        given = np.hstack(list(options.values())).tolist()
        with pytest.raises(ValueError) as refusal:
            draw_scene(0, "train", 0, **options)
        assert set(given) <= {float(number) for number in re.findall(r"\d+(?:\.\d+)?", str(refusal.value))}

    def test_the_smallest_image(self) -> None:
        assert draw_scene(0, "train", 0, size=9, radius=(2.0, 4.5)).image.shape == (9, 9, 3)
