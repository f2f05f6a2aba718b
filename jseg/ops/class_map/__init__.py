"""The best class of each pixel, from maps of logits on patch grids, without maps of the full size."""

from jseg.ops.class_map.class_map import ClassMap, GridCopy, class_map

__all__ = ["ClassMap", "GridCopy", "class_map"]
