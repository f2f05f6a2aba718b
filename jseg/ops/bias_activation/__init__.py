"""Bias and activation, applied in one pass over the output of a matrix product."""

from jseg.ops.bias_activation.bias_activation import bias_gelu, bias_quick_gelu, bias_relu

__all__ = ["bias_gelu", "bias_quick_gelu", "bias_relu"]
