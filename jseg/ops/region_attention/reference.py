"""Plain Jittor region attention with a dense mask, which documents the fused kernels and replaces them."""

import numpy as np

from jseg.ops.attention.reference import MASKED, masked_attention
from jseg.ops.region_attention.layout import RegionLayout
from jseg.runtime.backend import jt


def region_attention_reference(qkv: jt.Var, num_heads: int, layout: RegionLayout) -> jt.Var:
    """Computes softmax(q kᵀ / √c + mask) v, with arguments and result as in `region_attention`."""
    width = qkv.shape[-1] // 3
    q, k, v = (qkv[:, :, i * width : (i + 1) * width] for i in range(3))
    allowed = layout.allowed()
    mask = None if allowed.all() else jt.array(np.where(allowed, np.float32(0), np.float32(MASKED)))
    output = masked_attention(q, k, v, num_heads, mask)
    if layout.skipped:
        kept = np.ones((layout.tokens, 1), dtype=np.float32)
        kept[layout.prefix - layout.skipped : layout.prefix] = 0
        output = output * jt.array(kept).cast(output.dtype)
    return output
