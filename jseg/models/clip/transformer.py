"""The pre-norm transformer that both towers of CLIP use. Parameter names are OpenAI's."""

from collections import OrderedDict
from collections.abc import Callable
from functools import partial

from jseg.models.layers import LayerNorm, Linear, trunc_normal
from jseg.ops import (
    RegionLayout,
    attention,
    bias_gelu,
    bias_quick_gelu,
    insert_rows,
    linear,
    region_attention,
    shared_region_attention,
)
from jseg.ops.precision import lower
from jseg.runtime.backend import jt, nn

_ACTIVATIONS = {"quick_gelu": bias_quick_gelu, "gelu": bias_gelu}

Attend = Callable[[jt.Var, int], jt.Var]
"""Mixes tokens: (packed query, key and value (B, L, 3·D), number of heads) -> (B, L, D)."""


def causal(packed: jt.Var, heads: int) -> jt.Var:
    """Every token sees itself and the ones before it: the text tower."""
    width = packed.shape[-1] // 3
    q, k, v = (packed[:, :, i * width : (i + 1) * width] for i in range(3))
    return attention(q, k, v, heads, causal=True)


Keep = Callable[[jt.Var], jt.Var]
"""Leaves tokens out: (B, L, D) -> (B, L', D)."""


def over_regions(layout: RegionLayout, frozen: bool = False) -> Attend:
    """Vision tower: tokens see what `layout` says; without regions all see all. `frozen`: see
    `region_attention`."""
    return partial(region_attention, layout=layout, frozen=frozen)


class MultiheadAttention(nn.Module):
    """Self-attention with one packed projection, as `torch.nn.MultiheadAttention` stores it.

    `in_proj_weight` is (3·D, D): rows of the query, then of the key, then of the value.
    """

    def __init__(self, width: int, heads: int) -> None:
        self.in_proj_weight = trunc_normal((3 * width, width), std=width**-0.5)
        self.in_proj_bias = jt.zeros((3 * width,))
        self.out_proj = Linear(width, width)
        self.heads = heads

    def execute(self, x: jt.Var, attend: Attend, keep: Keep | None = None) -> jt.Var:
        """x (B, L, D) -> (B, L, D), or the tokens that `keep` leaves."""
        return self.mix(self.project(x), attend, keep)

    def project(self, x: jt.Var) -> jt.Var:
        """x (B, L, D) -> packed query, key and value (B, L, 3·D)."""
        return lower(linear(x, self.in_proj_weight, self.in_proj_bias))[0]

    def mix(self, packed: jt.Var, attend: Attend, keep: Keep | None = None) -> jt.Var:
        """What `project` returned -> (B, L, D), or the tokens that `keep` leaves."""
        mixed = attend(packed, self.heads)
        return self.out_proj(mixed if keep is None else keep(mixed))


class ResidualAttentionBlock(nn.Module):
    """x + attention(ln_1(x)), then x + mlp(ln_2(x)).

    Args:
        activation: of the feed-forward part, 'quick_gelu' or 'gelu'.
    """

    def __init__(self, width: int, heads: int, activation: str = "quick_gelu") -> None:
        self.attn = MultiheadAttention(width, heads)
        self.ln_1 = LayerNorm(width)
        self.mlp = nn.Sequential(
            OrderedDict([("c_fc", Linear(width, 4 * width)), ("c_proj", Linear(4 * width, width))])
        )
        self.ln_2 = LayerNorm(width)
        self._activation = _ACTIVATIONS[activation]

    def execute(self, x: jt.Var, attend: Attend, keep: Keep | None = None) -> jt.Var:
        """x (B, L, D) -> (B, L, D), or the tokens that `keep` leaves: the others are keys and values only."""
        kept = x if keep is None else keep(x)
        return self.feed_forward(kept + self.attn(self.ln_1(x), attend, keep))

    def with_prompts(self, prompts: jt.Var, x: jt.Var, attend: Attend, keep: Keep) -> jt.Var:
        """The same for prompts (B, K, D) behind the first token of frozen x (B, L, D), to whose projection no
        gradient flows. Returns the tokens of x."""
        frozen = self.project_tokens(x).stop_grad()
        packed = insert_rows(frozen, self.project_tokens(prompts), 1)
        return self.feed_forward(x + self.attn.mix(packed, attend, keep))

    def with_shared(self, x: jt.Var, own: jt.Var, shared: jt.Var, layout: RegionLayout) -> jt.Var:
        """The same without gradient, where some rows of the projection are the same for all images.

        Args:
            x: (B, E − skipped, D), all tokens that are not skipped.
            own: (B, L, D), the tokens whose rows are computed.
            shared: (S, 3·D), the other rows, which `project_tokens` returned.
            layout: order of the tokens; see `shared_region_attention`.

        Returns:
            (B, E − skipped, D).
        """
        mixed = shared_region_attention(self.project_tokens(own), shared, self.attn.heads, layout)
        return self.feed_forward(x + self.attn.out_proj(mixed))

    def project_tokens(self, x: jt.Var) -> jt.Var:
        """Norm and packed projection of tokens: (B, L, D) -> (B, L, 3·D)."""
        return self.attn.project(self.ln_1(x))

    @property
    def projection(self) -> tuple[jt.Var, ...]:
        """Parameters of `project_tokens`."""
        return self.ln_1.weight, self.ln_1.bias, self.attn.in_proj_weight, self.attn.in_proj_bias

    def feed_forward(self, x: jt.Var) -> jt.Var:
        """x + mlp(ln_2(x))."""
        hidden = linear(self.ln_2(x), self.mlp.c_fc.weight)
        return x + self.mlp.c_proj(self._activation(hidden, self.mlp.c_fc.bias))


class Transformer(nn.Module):
    """A stack of `layers` blocks under the name `resblocks`."""

    def __init__(self, width: int, layers: int, heads: int, activation: str = "quick_gelu") -> None:
        blocks = [ResidualAttentionBlock(width, heads, activation) for _ in range(layers)]
        self.resblocks = nn.ModuleList(blocks)

    def execute(self, x: jt.Var, attend: Attend) -> jt.Var:
        for block in self.resblocks:
            x = block(x, attend)
        return x
