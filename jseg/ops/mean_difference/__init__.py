"""Mean absolute or squared difference, summed without loss of digits."""

from jseg.ops.mean_difference.mean_difference import mean_difference

__all__ = ["mean_difference"]
