"""Operators the model is built from: fused kernels where Jittor's own are slow or lose digits.

One folder per fused operator: its Python front with the contract, a plain Jittor reference, the kernels and a
README. The front takes the kernel where one applies and the reference everywhere else; `JSEG_FUSED=0` forces
the references.
"""

from jseg.ops.attention import attention
from jseg.ops.basic import linear, resize_bilinear, transpose_last
from jseg.ops.bias_activation import bias_quick_gelu, bias_relu
from jseg.ops.dropout import dropout
from jseg.ops.layer_norm import layer_norm
from jseg.ops.region_attention import RegionLayout, region_attention
from jseg.ops.rows import replace_rows

__all__ = [
    "RegionLayout",
    "attention",
    "bias_quick_gelu",
    "bias_relu",
    "dropout",
    "layer_norm",
    "linear",
    "region_attention",
    "replace_rows",
    "resize_bilinear",
    "transpose_last",
]
