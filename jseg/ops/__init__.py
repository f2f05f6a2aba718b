"""Operators the model is built from: fused C++ kernels where Jittor's own are slow or lose digits.

One folder per fused operator: its Python front, a plain Jittor reference, and the kernel. The front
takes the kernel on the CPU and the reference everywhere else; `JSEG_FUSED_OPS=0` forces the reference.
"""

from jseg.ops.attention import attention
from jseg.ops.basic import linear, quick_gelu, resize_bilinear
from jseg.ops.layer_norm import layer_norm

__all__ = ["attention", "layer_norm", "linear", "quick_gelu", "resize_bilinear"]
