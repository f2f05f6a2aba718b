"""The head of CLIP-RC: region alignment, decoder, recovery decoder (paper, Fig. 3)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jseg.checkpoints.clip_rc_architecture import FUSED_FEATURES
from jseg.models.backbones.base import ImageFeatures
from jseg.models.heads.base import HEADS, Decoded, Head
from jseg.models.heads.decoder import (
    NO_DROPOUT,
    DecoderStream,
    DropoutRates,
    RecoveryDecoder,
    update_streams,
)
from jseg.models.heads.region_alignment import (
    descriptors,
    project_pixels,
    project_queries,
    project_text,
    region_relations,
)
from jseg.models.initialization import check_start, copy_first, normal_weights, pytorch_default
from jseg.models.layers import Linear
from jseg.models.losses import RECOVERY_LOSSES, recovery_loss
from jseg.models.remembered import Remembered
from jseg.ops import products_by_image
from jseg.runtime.backend import jt


@dataclass(frozen=True)
class RecoveryOptions:
    """The recovery decoder and its loss (Table 8). It is used only in training.

    num_layers: pairs of decoder layers. 0 keeps the linear maps in and out: decoded queries have d channels
        and their originals 2d, so one map must remain.
    loss: 'l1', 'l2' or 'kd'.
    weight: weight of its two loss terms; 0 disables them.

    Raises:
        ValueError: if an option is out of range.
    """

    num_layers: int = 1
    loss: str = "l1"
    weight: float = 2.0

    def __post_init__(self) -> None:
        if self.num_layers < 0:
            raise ValueError(
                f"recovery.num_layers is {self.num_layers}: it must be at least 0 (recovery=None for no "
                "recovery decoder)"
            )
        if self.loss not in RECOVERY_LOSSES:
            raise ValueError(f"recovery.loss is '{self.loss}': use one of {', '.join(RECOVERY_LOSSES)}")
        if self.weight < 0:
            raise ValueError(f"recovery.weight is {self.weight}: it must be at least 0")


@dataclass(frozen=True)
class Recovery:
    """Recovered features and their targets: queries (B, M·C, 2d), pixels (B, N, d)."""

    queries: jt.Var
    query_target: jt.Var
    pixels: jt.Var
    pixel_target: jt.Var


@dataclass(frozen=True)
class CLIPRCDecoded(Decoded):
    """`Decoded` with the output of the recovery decoder, or None if it did not run."""

    recovery: Recovery | None = None


@HEADS.register()
class CLIPRCHead(Head):
    """Text and image features -> one map of logits per class.

    Args:
        width: joint width d.
        ram_inputs: which of 'region', 'global' are fused with the image features (Table 7).
        num_layers: pairs of layers of the segmentation decoder.
        num_heads: attention heads of both decoders, a divisor of d.
        recovery: options of the recovery decoder, None for no recovery decoder.
        dropout: dropout rate of all decoder layers in training.
        feed_forward_dropout: rate between the ReLU and the second matrix of the feed-forward parts. None: the
            rate `dropout`, as in the releases.
        init: initial values. 'released': those that the releases train from, which are PyTorch's defaults
            with identical layers in each stream, and normal 0.02 with zero bias in the recovery decoder.
            'designed': close to the release's unused `init_weights`: normal 0.02 truncated at two standard
            deviations, zero bias, and pixel streams that start without a feed-forward part.

    Raises:
        ValueError: if options are invalid or do not match each other.
    """

    def __init__(
        self,
        width: int,
        ram_inputs: Sequence[str] = FUSED_FEATURES,
        num_layers: int = 3,
        num_heads: int = 8,
        recovery: RecoveryOptions | None = RecoveryOptions(),
        dropout: float = 0.1,
        feed_forward_dropout: float | None = None,
        init: str = "released",
    ) -> None:
        super().__init__()
        unknown = sorted(set(ram_inputs) - set(FUSED_FEATURES))
        if unknown:
            raise ValueError(f"ram_inputs names {unknown}: only {list(FUSED_FEATURES)} can be fused")
        if num_heads < 1 or width % num_heads:
            raise ValueError(f"num_heads is {num_heads}: it must divide the feature width {width}")
        if num_layers < 1:
            raise ValueError(f"num_layers is {num_layers}: it must be at least 1")
        check_start(init)
        self.dropout = DropoutRates.checked(dropout, feed_forward_dropout)
        self.ram_inputs = tuple(ram_inputs)
        self.num_layers, self.num_heads = num_layers, num_heads
        self.recovery = recovery
        self.decoder_q = DecoderStream(width, num_heads, num_layers)
        self.decoder_v = DecoderStream(width, num_heads, num_layers)
        if recovery is not None:
            self.recovery_decoder = RecoveryDecoder(width, num_heads, recovery.num_layers)
        self.lateral_proj = Linear((1 + len(self.ram_inputs)) * width, width)
        self.q_proj = Linear(2 * width, width)
        self._of_text = Remembered()
        if init == "released":
            self._start_as_released()
        else:
            self._start_as_designed()

    def _start_as_released(self) -> None:
        pytorch_default(self)
        copy_first(self.decoder_q.layers)
        copy_first(self.decoder_v.layers)
        if self.recovery is not None:
            normal_weights(self.recovery_decoder)

    def _start_as_designed(self) -> None:
        """`Linear` already starts as designed. Pixel streams start without a feed-forward part."""
        pixel_layers = list(self.decoder_v.layers)
        if self.recovery is not None:
            pixel_layers += list(self.recovery_decoder.decouple_v)
        for layer in pixel_layers:
            layer.linear2.weight = jt.zeros(layer.linear2.weight.shape)

    @property
    def needs_regions(self) -> bool:
        """Whether region features are fused with the pixels."""
        return "region" in self.ram_inputs

    def architecture(self) -> dict[str, Any]:
        """See `Head.architecture`."""
        inputs = tuple(name for name in FUSED_FEATURES if name in self.ram_inputs)
        return {
            "fused_inputs": len(inputs),
            "ram_inputs": inputs,
            "decoder_layers": self.num_layers,
            "decoder_heads": self.num_heads,
            "recovery_layers": self.recovery.num_layers if self.recovery else None,
        }

    def execute(self, features: ImageFeatures, text: jt.Var, training: bool = False) -> CLIPRCDecoded:
        """See `Head.execute`. The loss terms are `recovery_loss_q` and `recovery_loss_k` (Eq. 10)."""
        rates = self.dropout if training and self.is_training() else NO_DROPOUT
        relation = region_relations(text, features.global_feature, features.regions)
        weight, bias = self.q_proj.weight, self.q_proj.bias
        of_text = self._of_text("q_proj", (text, weight, bias), lambda: project_text(text, weight, bias))
        queries = project_queries(relation, of_text, weight)
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
        queries, pixels = update_streams(self.decoder_q.layers, self.decoder_v.layers, queries, pixels, rates)
        logits = class_maps(queries, pixels, text.shape[0]).reshape(queries.shape[0], -1, *features.grid)
        if not training or self.recovery is None or not self.recovery.weight:
            return CLIPRCDecoded(logits)
        recovered_queries, recovered_pixels = self.recovery_decoder(queries, pixels, rates)
        recovery = Recovery(
            recovered_queries, descriptors(relation, text).detach(), recovered_pixels, features.image.detach()
        )
        return CLIPRCDecoded(logits, _recovery_terms(recovery, self.recovery), recovery)


def _recovery_terms(recovery: Recovery, options: RecoveryOptions) -> dict[str, jt.Var]:
    pairs = {
        "recovery_loss_q": (recovery.queries, recovery.query_target),
        "recovery_loss_k": (recovery.pixels, recovery.pixel_target),
    }
    return {
        name: options.weight * recovery_loss(made, target, options.loss)
        for name, (made, target) in pairs.items()
    }


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
    return products_by_image(mean, pixels)
