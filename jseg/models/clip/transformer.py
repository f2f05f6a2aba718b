"""The pre-norm transformer that both towers of CLIP use. Parameter names are OpenAI's."""

from collections import OrderedDict
from typing import Optional

from jseg.models.layers import LayerNorm, Linear, trunc_normal
from jseg.ops import attention, linear, quick_gelu
from jseg.runtime.backend import jt, nn


class MultiheadAttention(nn.Module):
    """Self-attention with one packed projection, as `torch.nn.MultiheadAttention` stores it.

    `in_proj_weight` is (3·D, D): rows of the query, then of the key, then of the value.
    """

    def __init__(self, width: int, heads: int) -> None:
        self.in_proj_weight = trunc_normal((3 * width, width), std=width**-0.5)
        self.in_proj_bias = jt.zeros((3 * width,))
        self.out_proj = Linear(width, width)
        self.heads = heads

    def execute(self, x: jt.Var, mask: Optional[jt.Var] = None) -> jt.Var:
        """x (B, L, D), additive mask (L, L) or None -> (B, L, D)."""
        width = x.shape[-1]
        packed = linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = (packed[:, :, i * width:(i + 1) * width] for i in range(3))
        return self.out_proj(attention(q, k, v, self.heads, mask))


class ResidualAttentionBlock(nn.Module):
    """x + attention(ln_1(x)), then x + mlp(ln_2(x)) with QuickGELU."""

    def __init__(self, width: int, heads: int) -> None:
        self.attn = MultiheadAttention(width, heads)
        self.ln_1 = LayerNorm(width)
        self.mlp = nn.Sequential(OrderedDict([("c_fc", Linear(width, 4 * width)), ("c_proj", Linear(4 * width, width))]))
        self.ln_2 = LayerNorm(width)

    def execute(self, x: jt.Var, mask: Optional[jt.Var] = None) -> jt.Var:
        """x (B, L, D), additive mask (L, L) or None -> (B, L, D)."""
        x = x + self.attn(self.ln_1(x), mask)
        return x + self.mlp.c_proj(quick_gelu(self.mlp.c_fc(self.ln_2(x))))


class Transformer(nn.Module):
    """A stack of `layers` blocks under the name `resblocks`."""

    def __init__(self, width: int, layers: int, heads: int) -> None:
        self.resblocks = nn.ModuleList([ResidualAttentionBlock(width, heads) for _ in range(layers)])

    def execute(self, x: jt.Var, mask: Optional[jt.Var] = None) -> jt.Var:
        for block in self.resblocks:
            x = block(x, mask)
        return x
