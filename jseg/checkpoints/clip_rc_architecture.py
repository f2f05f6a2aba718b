"""The architecture of a CLIP-RC or ZegCLIP, derived from its config or from the shapes in a file. It
determines the parameter names."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from jseg.checkpoints.architecture import Architecture, Difference
from jseg.checkpoints.clip import VISION, block_names, count_layers
from jseg.checkpoints.formats.tensor_map import file_error
from jseg.files import PathLike

Shapes = Mapping[str, Sequence[int]]

FUSED_FEATURES = ("region", "global")
"""Features that the region alignment module can fuse with the pixels (Table 7 of the paper), in the order of
the columns of `lateral_proj`."""

REGION_TOKENS = "backbone.region_level_bridge"
"""Region tokens. They are parameters only if they are trained (Table 6 of the paper)."""

STREAMS = (
    ("decoder_q.layers", "decoder_v.layers"),
    ("recovery_decoder.decouple_q", "recovery_decoder.decouple_v"),
)
"""Pairs of streams of decoder layers in the head: those of the decoder, and of the recovery decoder."""

ZEGCLIP_LAYERS = "decode_head.decoder_1.layers."
"""Prefix of the names of ZegCLIP's decoder layers."""

_PROMPTS = (
    "prompt_embeddings",
    "deep_prompt_embeddings",
    "prompt_proj.weight",
    "prompt_proj.bias",
    "prompt_norm.weight",
    "prompt_norm.bias",
)
_DECODER_LAYER = tuple(
    f"{part}.{kind}"
    for part in (
        "linear1",
        "linear2",
        "norm2",
        "norm3",
        "multihead_attn.q",
        "multihead_attn.k",
        "multihead_attn.v",
        "multihead_attn.proj",
    )
    for kind in ("weight", "bias")
)
_SCORE_LAYER = tuple(f"multihead_attn.{part}.{kind}" for part in ("q", "k") for kind in ("weight", "bias"))
_HEAD = tuple(f"{part}.{kind}" for part in ("lateral_proj", "q_proj") for kind in ("weight", "bias"))
_RECOVERY_LINEAR = tuple(
    f"recovery_decoder.linear_{part}.{kind}"
    for part in ("q_in", "k_in", "q_out", "k_out")
    for kind in ("weight", "bias")
)
_ENCODER_DIMENSIONS = {
    "backbone.conv1.weight": 4,
    "backbone.proj": 2,
    "backbone.positional_embedding": 2,
    "backbone.prompt_embeddings": 3,
}
_DIMENSIONS = {**_ENCODER_DIMENSIONS, "decode_head.lateral_proj.weight": 2}
"""Tensors that determine the sizes, with their numbers of dimensions."""


@dataclass(frozen=True)
class EncoderSizes:
    """Sizes of CLIP's image encoder."""

    layers: int  # L
    width: int  # D
    patch_size: int  # pixels
    joint_width: int  # d, the embedding width of images and texts


def _option(part: str, name: str, default: Any, unknown: bool = False) -> Any:
    """A field set by `model.PART.NAME` in the config."""
    return field(default=default, metadata={"key": f"model.{part}.{name}", "unknown": unknown})


@dataclass(frozen=True)
class CLIPRCArchitecture(Architecture):
    """Sizes and options of a CLIP-RC. The defaults are those of its parts.

    Attributes:
        encoder: None if only the config is known. heads: attention heads of the encoder, which are not stored
            in files.
        image_size: (H, W) in pixels, which determines the grid of the position table.
        num_regions: M. 0 without a region bridge, None if a file stores no region tokens.
        fused_inputs: number of features fused with the pixels. ram_inputs: which ones.
        recovery_layers: None without a recovery decoder.
    """

    type: ClassVar[str] = "CLIPRC"

    encoder: EncoderSizes | None = field(default=None, metadata={"key": "model.clip", "unknown": True})
    heads: int | None = field(default=None, metadata={"key": "model.clip", "unknown": True})
    image_size: tuple[int, int] | None = field(default=None, metadata={"unknown": True})
    backbone: str = _option("backbone", "type", "RegionBridgeEncoder")
    num_prompts: int = _option("backbone", "num_prompts", 10)
    num_regions: int | None = _option("backbone", "num_regions", 16, unknown=True)
    train_regions: bool = _option("backbone", "train_regions", False)
    double_class_embedding: bool | None = _option("backbone", "double_class_embedding", True, unknown=True)
    decode_head: str = _option("decode_head", "type", "CLIPRCHead")
    fused_inputs: int = _option("decode_head", "ram_inputs", 2)
    ram_inputs: tuple[str, ...] | None = _option("decode_head", "ram_inputs", FUSED_FEATURES, unknown=True)
    decoder_layers: int = _option("decode_head", "num_layers", 3)
    decoder_heads: int | None = _option("decode_head", "num_heads", 8, unknown=True)
    recovery_layers: int | None = _option("decode_head", "recovery.num_layers", 1)

    @classmethod
    def from_config(
        cls, model: Mapping[str, Any], encoder: EncoderSizes | None = None
    ) -> "CLIPRCArchitecture":
        """Creates the architecture from `model` of a config. Missing options have the defaults of their
        parts.

        Args:
            model: the dict, which is not checked here.
            encoder: sizes of its CLIP, if known.
        """
        backbone, head = model.get("backbone", {}), model.get("decode_head", {})
        recovery = head.get("recovery", {})
        inputs = tuple(name for name in FUSED_FEATURES if name in head.get("ram_inputs", FUSED_FEATURES))
        size = model.get("image_size", 512)
        return cls(
            encoder=encoder,
            image_size=(size, size) if isinstance(size, int) else tuple(size),
            backbone=backbone.get("type", cls.backbone),
            num_prompts=backbone.get("num_prompts", cls.num_prompts),
            num_regions=backbone.get("num_regions", cls.num_regions),
            train_regions=backbone.get("train_regions", cls.train_regions),
            double_class_embedding=backbone.get("double_class_embedding", cls.double_class_embedding),
            decode_head=head.get("type", cls.decode_head),
            fused_inputs=len(inputs),
            ram_inputs=inputs,
            decoder_layers=head.get("num_layers", cls.decoder_layers),
            decoder_heads=head.get("num_heads", cls.decoder_heads),
            recovery_layers=None if recovery is None else recovery.get("num_layers", cls.recovery_layers),
        )

    @classmethod
    def from_shapes(
        cls,
        shapes: Shapes,
        source: PathLike,
        num_regions: int | None = None,
        train_regions: bool = False,
    ) -> "CLIPRCArchitecture":
        """Derives the architecture from the shapes of a CLIP-RC with the names of the releases.

        Args:
            shapes: name -> shape of every parameter.
            source: the file, for the message.
            num_regions: M, if `shapes` does not include untrained tokens.
            train_regions: whether region tokens are parameters.

        Raises:
            ValueError: if a tensor that determines a size is missing or has a wrong number of dimensions.
        """
        encoder = _encoder_from(shapes, source, _DIMENSIONS)
        fused = shapes["decode_head.lateral_proj.weight"][1] // encoder.joint_width - 1
        _, decoder_layers, recovery_layers = _layers(list(shapes))
        return cls(
            encoder=encoder,
            num_prompts=shapes["backbone.prompt_embeddings"][1],
            num_regions=num_regions,
            train_regions=train_regions,
            double_class_embedding=None,
            fused_inputs=fused,
            ram_inputs={0: (), 2: FUSED_FEATURES}.get(fused),
            decoder_layers=decoder_layers,
            decoder_heads=None,
            recovery_layers=recovery_layers,
        )

    def differences(self, saved: Mapping[str, Any]) -> list[Difference]:
        """See `Architecture.differences`. The values are those of a config."""
        found = []
        for key, wanted, now in super().differences(saved):
            if key == "model.clip":
                wanted, now = (_encoder_text(value) for value in (wanted, now))
            elif key.endswith("recovery.num_layers") and None in (wanted, now):
                key = key.removesuffix(".num_layers")
                wanted, now = (
                    {"num_layers": value} if value is not None else None for value in (wanted, now)
                )
            elif key.endswith("ram_inputs") and isinstance(wanted, int):
                # Report the same key by the names of the features, if both sides have them.
                if saved.get("ram_inputs") is not None and self.ram_inputs is not None:
                    continue
                choices = {0: (), 1: "('global',) or ('region',)", 2: FUSED_FEATURES}
                wanted, now = choices.get(wanted, "another"), self.ram_inputs
            found.append(Difference(key, wanted, now))
        return found

    def parameter_names(self) -> list[str]:
        """Returns all parameter names, in the order of the releases."""
        if self.encoder is None:
            raise ValueError("the encoder's sizes are unknown; create the architecture from a file or a CLIP")
        return clip_rc_parameter_names(
            self.encoder.layers, self.decoder_layers, self.recovery_layers, self.train_regions
        )


@dataclass(frozen=True)
class ZegCLIPArchitecture(CLIPRCArchitecture):
    """A ZegCLIP: no region tokens, one stream of decoder layers, no recovery decoder."""

    type: ClassVar[str] = "ZegCLIP"

    decode_head: str = _option("decode_head", "type", "ZegCLIPHead")

    @classmethod
    def from_shapes(
        cls,
        shapes: Shapes,
        source: PathLike,
        num_regions: int | None = None,
        train_regions: bool = False,
    ) -> "ZegCLIPArchitecture":
        """See `CLIPRCArchitecture.from_shapes`. Arguments about regions are ignored, since there are none."""
        encoder = _encoder_from(shapes, source, _ENCODER_DIMENSIONS)
        return cls(
            encoder=encoder,
            num_prompts=shapes["backbone.prompt_embeddings"][1],
            num_regions=None,
            double_class_embedding=None,
            fused_inputs=0,
            ram_inputs=(),
            decoder_layers=count_layers(list(shapes), ZEGCLIP_LAYERS),
            decoder_heads=None,
            recovery_layers=None,
        )

    def parameter_names(self) -> list[str]:
        """See `CLIPRCArchitecture.parameter_names`."""
        if self.encoder is None:
            raise ValueError("the encoder's sizes are unknown; create the architecture from a file or a CLIP")
        return zegclip_parameter_names(self.encoder.layers, self.decoder_layers)


def zegclip_parameter_names(layers: int, decoder_layers: int) -> list[str]:
    """Returns all parameter names of a ZegCLIP with these numbers of layers in encoder and decoder.

    In the last decoder layer, only the projections of queries and keys affect an output.
    """
    names = [*_encoder_names(layers, False), "decode_head.q_proj.weight", "decode_head.q_proj.bias"]
    updates = range(decoder_layers - 1)
    names += [f"{ZEGCLIP_LAYERS}{layer}.{name}" for layer in updates for name in _DECODER_LAYER]
    return names + [f"{ZEGCLIP_LAYERS}{decoder_layers - 1}.{name}" for name in _SCORE_LAYER]


def decoder_layer_shapes(width: int) -> dict[str, tuple[int, ...]]:
    """Returns name -> shape of the parameters of a decoder layer of width d."""
    wide = {
        "linear1.weight": (4 * width, width),
        "linear1.bias": (4 * width,),
        "linear2.weight": (width, 4 * width),
    }
    return {
        name: wide.get(name, (width,) if name.endswith("bias") or "norm" in name else (width, width))
        for name in _DECODER_LAYER
    }


def is_zegclip(names: Iterable[str]) -> bool:
    """Whether these are the names of a ZegCLIP, with or without the prefix `module.`."""
    return any(name.removeprefix("module.").startswith(ZEGCLIP_LAYERS) for name in names)


def named_parameters(names: Sequence[str], train_regions: bool) -> list[str]:
    """Returns all parameter names of a model with as many layers as occur in `names`, so that gaps appear."""
    if is_zegclip(names):
        layers = count_layers(names, "backbone.transformer.resblocks.")
        return zegclip_parameter_names(layers, count_layers(names, ZEGCLIP_LAYERS))
    return clip_rc_parameter_names(*_layers(names), train_regions)


def clip_rc_parameter_names(
    layers: int, decoder_layers: int, recovery_layers: int | None, train_regions: bool = False
) -> list[str]:
    """Returns all parameter names of a CLIP-RC. `recovery_layers` None means no recovery decoder."""
    names = _encoder_names(layers, train_regions)
    names += [f"decode_head.{name}" for name in _HEAD]
    for streams, count in zip(STREAMS, (decoder_layers, recovery_layers or 0)):
        names += [
            f"decode_head.{stream}.{layer}.{name}"
            for stream in streams
            for layer in range(count)
            for name in _DECODER_LAYER
        ]
    return names + (
        [f"decode_head.{name}" for name in _RECOVERY_LINEAR] if recovery_layers is not None else []
    )


def _encoder_names(layers: int, train_regions: bool) -> list[str]:
    names = [f"backbone.{name}" for name in VISION + _PROMPTS]
    names += block_names("backbone.transformer.resblocks.", layers)
    return names + ([REGION_TOKENS] if train_regions else [])


def _encoder_from(shapes: Shapes, source: PathLike, dimensions: Mapping[str, int]) -> EncoderSizes:
    """Returns the sizes of the encoder, after checking the tensors that determine them.

    Raises:
        ValueError: if one is missing or has a wrong number of dimensions.
    """
    for name, count in dimensions.items():
        if name not in shapes or len(shapes[name]) != count or 0 in shapes[name]:
            found = tuple(shapes[name]) if name in shapes else "missing"
            raise file_error(source, f"shape {found} is not that of a CLIP-RC; use another file", name)
    width, _, patch, _ = shapes["backbone.conv1.weight"]
    layers = count_layers(list(shapes), "backbone.transformer.resblocks.")
    return EncoderSizes(layers, width, patch, shapes["backbone.proj"][1])


def _layers(names: Sequence[str]) -> tuple[int, int, int | None]:
    """Returns the numbers of layers of the encoder, the decoder and the recovery decoder (None without
    one)."""
    recovery = any(name.startswith("decode_head.recovery_decoder.") for name in names)
    return (
        count_layers(names, "backbone.transformer.resblocks."),
        count_layers(names, f"decode_head.{STREAMS[0][0]}."),
        count_layers(names, f"decode_head.{STREAMS[1][0]}.") if recovery else None,
    )


def _encoder_text(encoder: Any) -> str:
    if not isinstance(encoder, Mapping):  # number of heads
        return f"a CLIP with {encoder} heads"
    return (
        f"a CLIP with {encoder['layers']} layers, width {encoder['width']}, patch {encoder['patch_size']}, "
        f"joint width {encoder['joint_width']}"
    )
