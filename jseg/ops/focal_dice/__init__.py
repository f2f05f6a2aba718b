"""Sums that the focal and dice losses are made of, over resized maps that are never stored."""

from jseg.ops.focal_dice.focal_dice import Sums, focal_dice

__all__ = ["Sums", "focal_dice"]
