"""Self-attention of the vision tower with the mask of the region-level bridge, without building that mask."""

from jseg.ops.region_attention.layout import RegionLayout
from jseg.ops.region_attention.region_attention import region_attention
from jseg.ops.region_attention.shared_tokens import shared_region_attention

__all__ = ["RegionLayout", "region_attention", "shared_region_attention"]
