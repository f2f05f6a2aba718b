"""ZeroShapes, a synthetic benchmark, with its captions and the pretraining of its tiny CLIP.

Everything except `jseg.zeroshapes.pretrain` works without Jittor.
"""

from jseg.zeroshapes.captions import CAPTION_FORMS, altered_classes, caption
from jseg.zeroshapes.drawing import (
    CLASS_NAMES,
    COLOURS,
    HUE_JITTER,
    PALETTE,
    SHAPES,
    SPLITS,
    UNSEEN,
    Scene,
    draw_scene,
)
from jseg.zeroshapes.writer import holds_zeroshapes, write_zeroshapes

__all__ = [
    "CAPTION_FORMS",
    "CLASS_NAMES",
    "COLOURS",
    "HUE_JITTER",
    "PALETTE",
    "SHAPES",
    "SPLITS",
    "UNSEEN",
    "Scene",
    "altered_classes",
    "caption",
    "draw_scene",
    "holds_zeroshapes",
    "write_zeroshapes",
]
