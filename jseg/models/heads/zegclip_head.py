"""The head of ZegCLIP (Zhou et al., CVPR 2023): class queries against the patches of the frozen encoder."""

from typing import Any

from jseg.models.backbones.base import ImageFeatures
from jseg.models.heads.base import HEADS, Decoded, Head
from jseg.models.heads.decoder import NO_DROPOUT, DecoderLayer, DropoutRates
from jseg.models.heads.region_alignment import project_queries, project_text, region_relations
from jseg.models.initialization import check_start, copy_first, pytorch_default
from jseg.models.layers import Linear
from jseg.models.remembered import Remembered
from jseg.ops import products_by_image
from jseg.runtime.backend import jt, nn


class Scores(nn.Module):
    """The attention scores of a layer before the softmax, averaged over the heads.

    mean_h (q_h · k_h) / sqrt(c) = (W_q q + b_q) · (W_k x + b_k) / (sqrt(c) · heads), with c channels per
    head: one matrix product. Values, feed-forward part and norms of such a layer do not affect any output,
    and are omitted.
    """

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.q = Linear(width, width)
        self.k = Linear(width, width)
        self.scale = 1.0 / ((width / num_heads) ** 0.5 * num_heads)

    def execute(self, query: jt.Var, memory: jt.Var) -> jt.Var:
        """query (B, C, d), memory (B, N, d) -> (B, C, N)."""
        return products_by_image(self.q(query) * self.scale, self.k(memory))


class ScoreLayer(nn.Module):
    """The last layer of the decoder, with the parameter names of the release."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.multihead_attn = Scores(width, num_heads)


class Decoder(nn.Module):
    """`decoder_1` of the release: layers that update the queries, then one that gives the class maps."""

    def __init__(self, width: int, num_heads: int, num_layers: int) -> None:
        super().__init__()
        updates = [DecoderLayer(width, num_heads) for _ in range(num_layers - 1)]
        self.layers = nn.Sequential([*updates, ScoreLayer(width, num_heads)])

    def execute(self, queries: jt.Var, pixels: jt.Var, rates: DropoutRates) -> jt.Var:
        """queries (B, C, d), pixels (B, N, d) -> scores (B, C, N)."""
        *updates, last = list(self.layers)
        for layer in updates:
            queries = layer(queries, pixels, rates)
        return last.multihead_attn(queries, pixels)


@HEADS.register()
class ZegCLIPHead(Head):
    """Queries q_proj(concat[T ⊙ G, T]) attend to the L2-normalised patch features; the last scores are the
    maps.

    Args:
        width: joint width d.
        num_layers: layers of the decoder, the last of which gives the maps.
        num_heads: attention heads, a divisor of d.
        dropout, feed_forward_dropout: dropout rates of the decoder in training, as in `CLIPRCHead`.
        init: initial values. 'released': those that the release trains from, which are PyTorch's defaults
            with identical layers. 'designed': those of its unused `init_weights`, which are truncated normal
            0.02 with zero bias.

    Raises:
        ValueError: if an option is invalid. The message names it.
    """

    def __init__(
        self,
        width: int,
        num_layers: int = 3,
        num_heads: int = 8,
        dropout: float = 0.1,
        feed_forward_dropout: float | None = None,
        init: str = "released",
    ) -> None:
        super().__init__()
        if num_heads < 1 or width % num_heads:
            raise ValueError(f"num_heads is {num_heads}: it must divide the feature width {width}")
        if num_layers < 1:
            raise ValueError(f"num_layers is {num_layers}: it must be at least 1")
        check_start(init)
        self.num_layers, self.num_heads = num_layers, num_heads
        self.dropout = DropoutRates.checked(dropout, feed_forward_dropout)
        self.decoder_1 = Decoder(width, num_heads, num_layers)
        self.q_proj = Linear(2 * width, width)
        self._of_text = Remembered()
        if init == "released":
            pytorch_default(self)
            copy_first(self.decoder_1.layers)

    def architecture(self) -> dict[str, Any]:
        """See `Head.architecture`."""
        return {
            "fused_inputs": 0,
            "ram_inputs": (),
            "decoder_layers": self.num_layers,
            "decoder_heads": self.num_heads,
            "recovery_layers": None,
        }

    def execute(self, features: ImageFeatures, text: jt.Var, training: bool = False) -> Decoded:
        """See `Head.execute`. Region features are not used."""
        rates = self.dropout if training and self.is_training() else NO_DROPOUT
        relation = region_relations(text, features.global_feature, None)
        weight, bias = self.q_proj.weight, self.q_proj.bias
        of_text = self._of_text("q_proj", (text, weight, bias), lambda: project_text(text, weight, bias))
        queries = project_queries(relation, of_text, weight)
        scores = self.decoder_1(queries, features.image, rates)
        return Decoded(scores.reshape(scores.shape[0], -1, *features.grid))
