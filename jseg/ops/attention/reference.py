"""Plain Jittor attention, which documents the fused kernels and replaces them where none applies."""

import numpy as np

from jseg.ops.basic import transpose_last
from jseg.ops.randomness import keep_mask, next_seed
from jseg.runtime.backend import jt, nn

MASKED = -1e30
"""Additive value of a forbidden pair. It is finite because Jittor compiles without infinities (-Ofast)."""


def attention_reference(
    q: jt.Var, k: jt.Var, v: jt.Var, num_heads: int, causal: bool = False, dropout: float = 0.0
) -> jt.Var:
    """Computes softmax(q kᵀ / √c) v for each head, with arguments and result as in `attention`."""
    mask = None
    if causal:
        mask = jt.array(np.triu(np.full((q.shape[1], q.shape[1]), MASKED, dtype=np.float32), k=1))
    return masked_attention(q, k, v, num_heads, mask, dropout)


def masked_attention(
    q: jt.Var, k: jt.Var, v: jt.Var, num_heads: int, mask: jt.Var | None = None, dropout: float = 0.0
) -> jt.Var:
    """Computes softmax(q kᵀ / √c + mask) v with an additive mask (Lq, Lk) shared by all heads and images."""
    heads_q, heads_k, heads_v = (_split_heads(x, num_heads) for x in (q, k, v))
    scores = nn.matmul(heads_q, transpose_last(heads_k)) * heads_q.shape[-1] ** -0.5
    if mask is not None:
        scores = scores + mask.cast(scores.dtype)
    probabilities = nn.softmax(scores, dim=-1)
    if dropout > 0:
        probabilities = (
            probabilities * keep_mask(probabilities.shape, dropout, next_seed()) * (1.0 / (1.0 - dropout))
        )
    return nn.matmul(probabilities, heads_v).transpose(0, 2, 1, 3).reshape(q.shape)


def _split_heads(x: jt.Var, num_heads: int) -> jt.Var:
    """Splits (B, L, H·c) into (B, H, L, c)."""
    return x.reshape(x.shape[0], x.shape[1], num_heads, -1).transpose(0, 2, 1, 3)
