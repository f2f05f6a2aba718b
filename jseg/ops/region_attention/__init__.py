"""Self-attention of the vision tower with the region-level bridge's mask, which is never built."""

from jseg.ops.region_attention.layout import RegionLayout
from jseg.ops.region_attention.region_attention import region_attention

__all__ = ["RegionLayout", "region_attention"]
