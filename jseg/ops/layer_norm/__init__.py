"""Layer normalisation in two passes."""

from jseg.ops.layer_norm.layer_norm import layer_norm

__all__ = ["layer_norm"]
