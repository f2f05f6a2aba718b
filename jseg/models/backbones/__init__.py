"""Vision encoders: CLIP's with deep prompts and the region-level bridge."""

from jseg.models.backbones.region_bridge import ImageFeatures, RegionBridgeEncoder

__all__ = ["ImageFeatures", "RegionBridgeEncoder"]
