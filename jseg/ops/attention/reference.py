"""Plain Jittor attention: the documentation of the fused kernel, and its stand-in off the CPU."""

from typing import Optional

from jseg.ops.randomness import keep_mask, next_seed
from jseg.runtime.backend import jt, nn


def attention_reference(
    q: jt.Var, k: jt.Var, v: jt.Var, num_heads: int, mask: Optional[jt.Var] = None, dropout: float = 0.0
) -> jt.Var:
    """softmax(q kᵀ / √c + mask) v for each head; arguments and result as in `attention`."""
    heads_q, heads_k, heads_v = (_split_heads(x, num_heads) for x in (q, k, v))
    scores = nn.matmul(heads_q, heads_k.transpose(0, 1, 3, 2)) * heads_q.shape[-1] ** -0.5
    if mask is not None:
        # Rounded to memory here: fused with the softmax, fast mathematics would take the maximum off the
        # mask first, and a row that forbids everything would attend by its scores instead of evenly.
        scores = (scores + mask).stop_fuse()
    probabilities = nn.softmax(scores, dim=-1)
    if dropout > 0:
        probabilities = probabilities * keep_mask(probabilities.shape, dropout, next_seed()) * (1.0 / (1.0 - dropout))
    return nn.matmul(probabilities, heads_v).transpose(0, 2, 1, 3).reshape(q.shape)


def _split_heads(x: jt.Var, num_heads: int) -> jt.Var:
    """(B, L, H·c) -> (B, H, L, c)."""
    return x.reshape(x.shape[0], x.shape[1], num_heads, -1).transpose(0, 2, 1, 3)
