"""Image encoders: CLIP's with deep prompts and the region-level bridge."""

from jseg.models.backbones.base import BACKBONES, Backbone, ImageFeatures
from jseg.models.backbones.region_bridge import RegionBridgeEncoder

__all__ = ["BACKBONES", "Backbone", "ImageFeatures", "RegionBridgeEncoder"]
