"""Segmentors: importing this package registers them."""

from jseg.models.segmentors.base import Segmentor
from jseg.models.segmentors.clip_rc import CLIPRC, CLIPRCSegmentor

__all__ = ["CLIPRC", "CLIPRCSegmentor", "Segmentor"]
