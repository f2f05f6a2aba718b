"""The head of CLIP-RC: region alignment, decoder, recovery decoder (paper, Fig. 3)."""

from collections.abc import Sequence
from dataclasses import dataclass

from jseg.models.backbones.region_bridge import ImageFeatures
from jseg.models.heads.decoder import DecoderStream, RecoveryDecoder, update_streams
from jseg.models.heads.region_alignment import (
    ALIGNED_FEATURES,
    descriptors,
    project_pixels,
    project_queries,
    region_relations,
)
from jseg.models.layers import Linear
from jseg.ops import linear
from jseg.runtime.backend import jt, nn


@dataclass(frozen=True)
class Recovery:
    """Recovered features and their targets: queries (B, M·C, 2d), pixels (B, N, d)."""

    queries: jt.Var
    query_target: jt.Var
    pixels: jt.Var
    pixel_target: jt.Var


class CLIPRCHead(nn.Module):
    """Text and image features -> one map of logits per class.

    Args:
        width: joint width d.
        num_heads: attention heads, a divisor of d.
        num_layers: pairs of layers of the segmentation decoder.
        ram_inputs: which of 'region', 'global' are fused with the image features (Table 7).
        recovery_layers: pairs of layers of the recovery decoder, or None for no recovery decoder.

    Raises:
        ValueError: for options that do not fit together.
    """

    def __init__(
        self,
        width: int,
        num_heads: int = 8,
        num_layers: int = 3,
        ram_inputs: Sequence[str] = ALIGNED_FEATURES,
        recovery_layers: int | None = 1,
    ) -> None:
        super().__init__()
        unknown = sorted(set(ram_inputs) - set(ALIGNED_FEATURES))
        if unknown:
            raise ValueError(f"ram_inputs names {unknown}: only {list(ALIGNED_FEATURES)} can be fused")
        if width % num_heads:
            raise ValueError(f"decoder_heads is {num_heads}: it must divide the feature width {width}")
        if num_layers < 1 or (recovery_layers is not None and recovery_layers < 0):
            raise ValueError(
                f"decoder_layers is {num_layers} and recovery_layers {recovery_layers}: they "
                "must be at least 1 and at least 0 (or None for no recovery decoder)"
            )
        self.ram_inputs = tuple(ram_inputs)
        self.decoder_q = DecoderStream(width, num_heads, num_layers)
        self.decoder_v = DecoderStream(width, num_heads, num_layers)
        if recovery_layers is not None:
            self.recovery_decoder = RecoveryDecoder(width, num_heads, recovery_layers)
        self.has_recovery = recovery_layers is not None
        self.lateral_proj = Linear((1 + len(self.ram_inputs)) * width, width)
        self.q_proj = Linear(2 * width, width)
        # `Linear` and `LayerNorm` start as DESIGN asks; pixel streams start without feed-forward part.
        pixel_layers = list(self.decoder_v.layers)
        if self.has_recovery:
            pixel_layers += list(self.recovery_decoder.decouple_v)
        for layer in pixel_layers:
            layer.linear2.weight = jt.zeros(layer.linear2.weight.shape)

    def execute(
        self, features: ImageFeatures, text: jt.Var, dropout_rate: float = 0.0, recover: bool = False
    ) -> tuple[jt.Var, Recovery | None]:
        """Decodes one batch.

        Args:
            features: of the region bridge encoder.
            text: (C, d), L2-normalised.
            dropout_rate: 0 outside training.
            recover: also run the recovery decoder.

        Returns:
            logits (B, C, h, w) on the grid of patches, and the recovery (None unless asked for).
        """
        relation = region_relations(text, features.global_feature, features.regions)
        queries = project_queries(relation, text, self.q_proj.weight, self.q_proj.bias)
        pixels = project_pixels(
            features.image,
            features.global_feature,
            features.regions,
            features.grid,
            features.region_grid,
            self.ram_inputs,
            self.lateral_proj.weight,
            self.lateral_proj.bias,
        )
        queries, pixels = update_streams(
            self.decoder_q.layers, self.decoder_v.layers, queries, pixels, dropout_rate
        )
        logits = class_maps(queries, pixels, text.shape[0]).reshape(queries.shape[0], -1, *features.grid)
        if not recover:
            return logits, None
        recovered_queries, recovered_pixels = self.recovery_decoder(queries, pixels, dropout_rate)
        return logits, Recovery(
            recovered_queries, descriptors(relation, text).detach(), recovered_pixels, features.image.detach()
        )


def class_maps(queries: jt.Var, pixels: jt.Var, num_classes: int) -> jt.Var:
    """q·vᵀ averaged over regions (Eq. 8); queries are averaged first, which is the same and M times cheaper.

    Args:
        queries: (B, M·C, d), region-major.
        pixels: (B, N, d).

    Returns:
        (B, C, N).
    """
    batch, _, width = queries.shape
    mean = queries.reshape(batch, -1, num_classes, width).mean(1)
    # One 2-D product per image: Jittor's batched product takes a slow generic path on the CPU.
    return jt.stack([linear(mean[i], pixels[i]) for i in range(batch)])
