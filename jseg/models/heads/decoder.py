"""Two-stream cross-attention layers shared by the segmentation and the recovery decoder (paper, Fig. 3c)."""

from typing import NamedTuple

from jseg.models.layers import LayerNorm, Linear
from jseg.ops import attention, bias_relu, dropout, linear
from jseg.ops.precision import lower
from jseg.runtime.backend import jt, nn

FEED_FORWARD_FACTOR = 4


class DropoutRates(NamedTuple):
    """Dropout of a decoder layer; none by default.

    stream: of the attention probabilities and of what attention and feed-forward part add to their stream.
    feed_forward: between the ReLU and the second matrix of the feed-forward part.
    """

    stream: float = 0.0
    feed_forward: float = 0.0

    @classmethod
    def checked(cls, dropout: float, feed_forward_dropout: float | None) -> "DropoutRates":
        """Rates from the options of a head; `feed_forward_dropout` None means that of `dropout`.

        Raises:
            ValueError: a rate is outside [0, 1); names the option.
        """
        rates = cls(dropout, dropout if feed_forward_dropout is None else feed_forward_dropout)
        for option, rate in zip(("dropout", "feed_forward_dropout"), rates):
            if not 0 <= rate < 1:
                raise ValueError(f"{option} is {rate}: it must be at least 0 and below 1")
        return rates


NO_DROPOUT = DropoutRates()


class CrossAttention(nn.Module):
    """Multi-head attention with biased q, k, v and output maps; scale (width / heads)^-0.5."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q = Linear(width, width)
        self.k = Linear(width, width)
        self.v = Linear(width, width)
        self.proj = Linear(width, width)

    def execute(self, query: jt.Var, memory: jt.Var, dropout_rate: float = 0.0) -> jt.Var:
        """query (B, Lq, d), memory (B, Lk, d) -> (B, Lq, d); dropout acts on the attention probabilities."""
        q, k, v = lower(self.q(query), self.k(memory), self.v(memory))
        return self.proj(attention(q, k, v, self.num_heads, dropout=dropout_rate))


class DecoderLayer(nn.Module):
    """Post-norm cross-attention and ReLU feed-forward d -> 4d -> d.

    `norm2` and `norm3` have the names of the releases, whose `norm1` and `self_attn` are unused and omitted.
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.multihead_attn = CrossAttention(width, num_heads)
        self.linear1 = Linear(width, FEED_FORWARD_FACTOR * width)
        self.linear2 = Linear(FEED_FORWARD_FACTOR * width, width)
        self.norm2 = LayerNorm(width)
        self.norm3 = LayerNorm(width)

    def execute(self, x: jt.Var, memory: jt.Var, rates: DropoutRates = NO_DROPOUT) -> jt.Var:
        """x (B, Lq, d), memory (B, Lk, d) -> (B, Lq, d)."""
        x = self.norm2(x + dropout(self.multihead_attn(x, memory, rates.stream), rates.stream))
        hidden = bias_relu(linear(x, self.linear1.weight), self.linear1.bias, rates.feed_forward)
        hidden = self.linear2(hidden)
        return self.norm3(x + dropout(hidden, rates.stream))


class DecoderStream(nn.Module):
    """The layers of one stream of the segmentation decoder (`decoder_q` or `decoder_v` in checkpoints)."""

    def __init__(self, width: int, num_heads: int, num_layers: int) -> None:
        super().__init__()
        self.layers = nn.Sequential([DecoderLayer(width, num_heads) for _ in range(num_layers)])


def update_streams(
    query_layers: nn.Sequential,
    pixel_layers: nn.Sequential,
    queries: jt.Var,
    pixels: jt.Var,
    rates: DropoutRates,
) -> tuple[jt.Var, jt.Var]:
    """Runs paired layers; each pair reads the old values of both streams (Eqs. 7 and 9).

    Args:
        queries: (B, M·C, d).
        pixels: (B, N, d).

    Returns:
        (queries, pixels) of the same shapes.
    """
    for query_layer, pixel_layer in zip(query_layers, pixel_layers):
        queries, pixels = (
            query_layer(queries, pixels, rates),
            pixel_layer(pixels, queries, rates),
        )
    return queries, pixels


class RecoveryDecoder(nn.Module):
    """Maps decoded features back to the originals, in training only (paper, section 3.4).

    Linear maps in, `num_layers` pairs of decoder layers, linear maps out: queries d -> 2d, pixels d -> d.
    With 0 layers (Table 8, "L1 Loss, 0") there are only the linear maps between decoded and original
    features. At least one map is needed because the original descriptors are twice as wide as the decoded
    queries.
    """

    def __init__(self, width: int, num_heads: int, num_layers: int) -> None:
        super().__init__()
        self.decouple_q = nn.Sequential([DecoderLayer(width, num_heads) for _ in range(num_layers)])
        self.decouple_v = nn.Sequential([DecoderLayer(width, num_heads) for _ in range(num_layers)])
        self.linear_q_in = Linear(width, width)
        self.linear_k_in = Linear(width, width)
        self.linear_q_out = Linear(width, 2 * width)
        self.linear_k_out = Linear(width, width)

    def execute(
        self, queries: jt.Var, pixels: jt.Var, rates: DropoutRates = NO_DROPOUT
    ) -> tuple[jt.Var, jt.Var]:
        """(B, M·C, d), (B, N, d) -> recovered descriptors (B, M·C, 2d) and image features (B, N, d)."""
        queries, pixels = update_streams(
            self.decouple_q,
            self.decouple_v,
            self.linear_q_in(queries),
            self.linear_k_in(pixels),
            rates,
        )
        return self.linear_q_out(queries), self.linear_k_out(pixels)
