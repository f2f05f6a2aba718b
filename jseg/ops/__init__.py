"""Operators that the model is built from, with fused kernels where Jittor's own are slow or lose precision.

Each fused operator has a folder with its Python front, a plain Jittor reference, the kernels and a README.
The front documents the contract. It calls the kernel where one applies and the reference everywhere else.
`JSEG_FUSED=0` forces the references.
"""

from jseg.ops.attention import attention
from jseg.ops.basic import linear, products_by_image, resize_bilinear, set_value, transpose_last
from jseg.ops.bias_activation import bias_gelu, bias_quick_gelu, bias_relu
from jseg.ops.class_map import ClassMap, GridCopy, class_map
from jseg.ops.dropout import dropout
from jseg.ops.focal_dice import focal_dice
from jseg.ops.layer_norm import layer_norm
from jseg.ops.mean_difference import mean_difference
from jseg.ops.region_attention import RegionLayout, region_attention, shared_region_attention
from jseg.ops.rows import drop_rows, insert_rows

__all__ = [
    "ClassMap",
    "GridCopy",
    "RegionLayout",
    "attention",
    "bias_gelu",
    "bias_quick_gelu",
    "bias_relu",
    "class_map",
    "drop_rows",
    "dropout",
    "focal_dice",
    "insert_rows",
    "layer_norm",
    "linear",
    "mean_difference",
    "products_by_image",
    "region_attention",
    "resize_bilinear",
    "set_value",
    "shared_region_attention",
    "transpose_last",
]
