"""Datasets that are drawn instead of downloaded, with their captions and the pretraining of their tiny CLIPs.

Everything except `jseg.drawn.pretrain` works without Jittor.
"""

from jseg.drawn.captions import CAPTION_FORMS, caption
from jseg.drawn.dataset import DRAWN, DrawnDataset
from jseg.drawn.scene import SPLITS, Scene
from jseg.drawn.writer import holds_dataset, write_dataset

__all__ = [
    "CAPTION_FORMS",
    "DRAWN",
    "SPLITS",
    "DrawnDataset",
    "Scene",
    "caption",
    "holds_dataset",
    "write_dataset",
]
