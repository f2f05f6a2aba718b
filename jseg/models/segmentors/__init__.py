"""Segmentors: importing this package registers them."""

from jseg.models.segmentors.base import MODELS, Segmentor
from jseg.models.segmentors.clip_rc import CLIPRC
from jseg.models.segmentors.dense_clip import DenseCLIP
from jseg.models.segmentors.zegclip import ZegCLIP

__all__ = ["CLIPRC", "MODELS", "DenseCLIP", "Segmentor", "ZegCLIP"]
