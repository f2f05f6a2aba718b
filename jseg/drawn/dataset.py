"""The drawn datasets by name, for the code that writes them and pretrains their CLIPs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from jseg.datasets.classes import ClassList
from jseg.drawn import zeroshapes, zerowords
from jseg.drawn.scene import Scene


@dataclass(frozen=True)
class DrawnDataset:
    """A dataset that is drawn.

    title: name in texts. classes: its class list. edition: of the drawing code. size: default side of the
        images in pixels. counts: default number of images of each split. smallest: smallest side.
    draw: (seed, split, index, size) -> image of a split.
    draw_single: the same with one object, for CLIPs that are tested on images of `clip_size` pixels.
    draw_for_pretraining: (seed, index, size, single) -> image for captions, with one object if `single`.
    augmented: (generator, images) -> images (B, size, size, 3) from those for pretraining.
    altered: (generator, classes) -> classes of another scene, similar to this one.
    parts: name -> for each class the group it belongs to, such as its colour; scored by themselves.
    clip_size: side of the images that its CLIP is pretrained on.
    """

    title: str
    classes: ClassList
    edition: int
    size: int
    smallest: int
    draw: Callable[[int, str, int, int], Scene]
    draw_single: Callable[[int, str, int, int], Scene]
    draw_for_pretraining: Callable[[int, int, int, bool], Scene]
    augmented: Callable[[np.random.Generator, np.ndarray], np.ndarray]
    altered: Callable[[np.random.Generator, tuple[int, ...]], tuple[int, ...]]
    clip_size: int
    counts: Mapping[str, int] = field(default_factory=lambda: {"train": 3000, "val": 300, "test": 100})
    parts: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


_SHAPES = len(zeroshapes.SHAPES)
_PAIRS = range(len(zeroshapes.CLASSES.names))

DRAWN: dict[str, DrawnDataset] = {
    "zeroshapes": DrawnDataset(
        title="ZeroShapes",
        classes=zeroshapes.CLASSES,
        edition=zeroshapes.EDITION,
        size=64,
        smallest=48,
        draw=zeroshapes.draw_scene,
        draw_single=lambda seed, split, index, size: zeroshapes.draw_scene(seed, split, index, size, 1),
        draw_for_pretraining=lambda seed, index, size, single: zeroshapes.draw_scene(
            seed, "pretrain", index, size, 1 if single else 3
        ),
        augmented=zeroshapes.augmented,
        altered=zeroshapes.altered_classes,
        clip_size=64,
        parts={
            "colour": tuple(index // _SHAPES for index in _PAIRS),
            "shape": tuple(index % _SHAPES for index in _PAIRS),
        },
    ),
    "zerowords": DrawnDataset(
        title="ZeroWords",
        classes=zerowords.CLASSES,
        edition=zerowords.EDITION,
        size=96,
        smallest=64,
        draw=zerowords.draw_scene,
        draw_single=lambda seed, split, index, size: zerowords.draw_scene(seed, split, index, size, (1, 1)),
        draw_for_pretraining=lambda seed, index, size, single: zerowords.draw_for_pretraining(
            seed, index, size, (1, 1) if single else (1, 3)
        ),
        augmented=zerowords.augmented,
        altered=zerowords.altered_classes,
        clip_size=64,
    ),
}
"""Name of the command and of the class list -> dataset."""
