"""CLIP-RC in weight files: the tensor names of the releases <-> jseg's, and the sizes that the tensors tell.

Both use the names of the PyTorch release (`backbone.*`, `decode_head.*`), and so does the JSeg release
(.pkl). The releases carry more than anything uses: that is ignored on the way in and filled on the way out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jseg.checkpoints.clip import CLIP_RC, VISION, Arrays, NameReport, block_names, count_layers
from jseg.checkpoints.formats.reader import read_tensors
from jseg.checkpoints.formats.tensor_map import TensorMap, check_finite, file_error
from jseg.files import PathLike

Shapes = Mapping[str, Sequence[int]]

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
_HEAD = tuple(f"{part}.{kind}" for part in ("lateral_proj", "q_proj") for kind in ("weight", "bias"))
_RECOVERY_LINEAR = tuple(
    f"recovery_decoder.linear_{part}.{kind}"
    for part in ("q_in", "k_in", "q_out", "k_out")
    for kind in ("weight", "bias")
)
_STREAMS = (
    ("decoder_q.layers", "decoder_v.layers"),
    ("recovery_decoder.decouple_q", "recovery_decoder.decouple_v"),
)

REGION_TOKENS = "backbone.region_level_bridge"
"""Region tokens: parameters only when they are trained (paper, Table 6)."""

_DIMENSIONS = {
    "backbone.conv1.weight": 4,
    "backbone.proj": 2,
    "backbone.positional_embedding": 2,
    "backbone.prompt_embeddings": 3,
    "decode_head.lateral_proj.weight": 2,
}
"""The tensors that tell the sizes, and their numbers of dimensions."""


def clip_rc_parameter_names(
    layers: int, decoder_layers: int, recovery_layers: int | None, trained_regions: bool = False
) -> list[str]:
    """All parameters of jseg's CLIP-RC; `recovery_layers` None means no recovery decoder."""
    names = [f"backbone.{name}" for name in VISION + _PROMPTS]
    names += block_names("backbone.transformer.resblocks.", layers) + (
        [REGION_TOKENS] if trained_regions else []
    )
    names += [f"decode_head.{name}" for name in _HEAD]
    for streams, count in zip(_STREAMS, (decoder_layers, recovery_layers or 0)):
        names += [
            f"decode_head.{stream}.{layer}.{name}"
            for stream in streams
            for layer in range(count)
            for name in _DECODER_LAYER
        ]
    return names + (
        [f"decode_head.{name}" for name in _RECOVERY_LINEAR] if recovery_layers is not None else []
    )


def regions_are_untrained(tensors: Arrays) -> bool:
    """Whether the stored region tokens are all class embedding +
    position of CLS, as the releases start (and keep) them."""
    tokens = np.asarray(tensors[REGION_TOKENS], np.float64)
    start = (
        np.asarray(tensors["backbone.class_embedding"], np.float64)
        + tensors["backbone.positional_embedding"][0]
    )
    if tokens.ndim != 2 or tokens.shape[1:] != start.shape:
        return False
    # Half precision keeps 11 bits.
    tolerance = 2e-3 if tensors[REGION_TOKENS].dtype == np.float16 else 1e-5
    return bool(np.abs(tokens - start).max(initial=0) <= tolerance * max(1.0, np.abs(start).max()))


def clip_rc_from_release(
    tensors: Arrays, trained_regions: bool | None = None
) -> tuple[dict[str, np.ndarray], NameReport]:
    """A released CLIP-RC checkpoint (PyTorch or JSeg) -> jseg's CLIP-RC.

    Ignored: `self_attn.*` and `norm1.*` of decoder layers (nothing uses them), a text encoder, and region
    tokens that were not trained.

    Args:
        tensors: names and values of the release, `module.` in front allowed.
        trained_regions: whether region tokens are parameters; by default if they differ from their start.
    """
    tensors = {name.removeprefix("module."): tensors[name] for name in tensors}
    names = list(tensors)
    if trained_regions is None:
        needed = (REGION_TOKENS, "backbone.class_embedding", "backbone.positional_embedding")
        trained_regions = all(name in tensors for name in needed) and not regions_are_untrained(tensors)
    recovery = any(name.startswith("decode_head.recovery_decoder.") for name in names)
    expected = clip_rc_parameter_names(
        count_layers(names, "backbone.transformer.resblocks."),
        count_layers(names, f"decode_head.{_STREAMS[0][0]}."),
        count_layers(names, f"decode_head.{_STREAMS[1][0]}.") if recovery else None,
        trained_regions,
    )
    known = set(expected)
    ignored = tuple(name for name in names if name not in known and _is_ignored(name))
    unused = tuple(name for name in names if name not in known and not _is_ignored(name))
    missing = tuple(name for name in expected if name not in tensors)
    state = {name: tensors[name] for name in expected if name in tensors}
    return state, NameReport(CLIP_RC, ignored, unused, missing)


def _is_ignored(name: str) -> bool:
    in_decoder = any(name.startswith(f"decode_head.{stream}.") for streams in _STREAMS for stream in streams)
    return (
        (in_decoder and (".self_attn." in name or ".norm1." in name))
        or name == REGION_TOKENS
        or name.startswith("text_encoder.")
    )


def clip_rc_to_release(state: Arrays, num_regions: int = 16) -> dict[str, np.ndarray]:
    """jseg's CLIP-RC -> all names of the releases, so that their code loads it strictly.

    What nothing uses is filled: zeros for `self_attn`, 1 and 0 for `norm1`; region tokens get their untrained
    value, `num_regions` of them, unless `state` holds trained ones.

    Raises:
        ValueError: `state` is not a complete CLIP-RC.
    """
    result, report = clip_rc_from_release(state, REGION_TOKENS in state)
    report.check("the state dict")
    if REGION_TOKENS not in result:
        start = result["backbone.class_embedding"] + result["backbone.positional_embedding"][0]
        result[REGION_TOKENS] = np.tile(start, (num_regions, 1))
    for streams in _STREAMS:
        for stream in streams:
            for layer in range(count_layers(list(result), f"decode_head.{stream}.")):
                prefix = f"decode_head.{stream}.{layer}."
                norm = result[prefix + "norm2.weight"]
                width = norm.shape[0]
                result[prefix + "norm1.weight"] = np.ones_like(norm)
                for name, shape in (
                    ("norm1.bias", (width,)),
                    ("self_attn.in_proj_weight", (3 * width, width)),
                    ("self_attn.in_proj_bias", (3 * width,)),
                    ("self_attn.out_proj.bias", (width,)),
                    ("self_attn.out_proj.weight", (width, width)),
                ):
                    result[prefix + name] = np.zeros(shape, norm.dtype)
    return result


@dataclass(frozen=True)
class CLIPRCSizes:
    """Sizes of a CLIP-RC that its tensors tell. Heads and the number of classes are stored nowhere."""

    layers: int  # L of the encoder
    width: int  # D
    patch: int  # pixels
    joint: int  # d, of images and texts
    num_prompts: int  # K a layer
    fused_inputs: int  # features fused with the pixels: 0, 1 or 2 of global and region
    decoder_layers: int
    recovery_layers: int | None  # None: no recovery decoder
    num_regions: int | None  # M of the stored region tokens, None: none are stored
    trained_regions: bool


def clip_rc_sizes(
    shapes: Shapes, source: PathLike, num_regions: int | None = None, trained_regions: bool = False
) -> CLIPRCSizes:
    """Reads the sizes off the shapes of a CLIP-RC under the names of the releases.

    Args:
        shapes: name -> shape of every parameter.
        source: the file, for the message.
        num_regions: M, where untrained tokens were left out of `shapes`.
        trained_regions: whether region tokens are parameters.

    Raises:
        ValueError: a tensor that tells a size is missing or has another number of dimensions.
    """
    for name, dimensions in _DIMENSIONS.items():
        if name not in shapes or len(shapes[name]) != dimensions or 0 in shapes[name]:
            found = tuple(shapes[name]) if name in shapes else "missing"
            raise file_error(source, f"no CLIP-RC has this shape: {found}; use another file", name)
    names = list(shapes)
    width, _, patch, _ = shapes["backbone.conv1.weight"]
    joint = shapes["backbone.proj"][1]
    recovery = any(name.startswith("decode_head.recovery_decoder.") for name in names)
    return CLIPRCSizes(
        layers=count_layers(names, "backbone.transformer.resblocks."),
        width=width,
        patch=patch,
        joint=joint,
        num_prompts=shapes["backbone.prompt_embeddings"][1],
        fused_inputs=shapes["decode_head.lateral_proj.weight"][1] // joint - 1,
        decoder_layers=count_layers(names, "decode_head.decoder_q.layers."),
        recovery_layers=count_layers(names, "decode_head.recovery_decoder.decouple_q.") if recovery else None,
        num_regions=num_regions,
        trained_regions=trained_regions,
    )


def load_model_state(path: PathLike) -> tuple[dict[str, np.ndarray], CLIPRCSizes]:
    """A whole CLIP-RC from a file of any format: the PyTorch or JSeg release, or a converted one.

    Returns:
        The parameters of jseg's CLIP-RC (half precision is kept, arrays may be read-only) and their sizes.

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, of another model, not complete, or not finite; names file and tensors.
    """
    tensors = read_tensors(path)
    check_is_clip_rc(tensors)
    state, report = clip_rc_from_release(tensors)
    report.check(tensors.path)
    check_finite(tensors.path, state)
    shapes = {name: array.shape for name, array in state.items()}
    return state, clip_rc_sizes(shapes, path, stored_regions(tensors), REGION_TOKENS in state)


def stored_regions(tensors: TensorMap) -> int | None:
    """Number of region tokens in the file, trained or not; None if it holds none."""
    name = next((name for name in tensors if name.endswith(REGION_TOKENS)), None)
    return None if name is None else tensors.entry(name).shape[0]


def check_is_clip_rc(tensors: TensorMap) -> None:
    """Raises `ValueError` if the file is no CLIP-RC at all (says what it is), or has odd embeddings."""
    names = [name.removeprefix("module.") for name in tensors]
    parts = ("backbone.", "decode_head.")
    if not all(any(name.startswith(part) for name in names) for part in parts):
        clip = any(name.startswith(("visual.", "vision_model.")) for name in names)
        hint = (
            "it is a CLIP: set model.clip to it, or use tools/convert_clip.py" if clip else "use another file"
        )
        raise file_error(
            tensors.path,
            f"is not a CLIP-RC checkpoint (no tensors named backbone.* and decode_head.*); {hint}",
        )
    dimensions = {"backbone.class_embedding": 1, "backbone.positional_embedding": 2, REGION_TOKENS: 2}
    for name, count in dimensions.items():
        for stored in {name, f"module.{name}"} & set(tensors):
            shape = tensors.entry(stored).shape
            if len(shape) != count or 0 in shape:
                raise file_error(
                    tensors.path, f"no CLIP-RC has this shape: {shape}; use another file", stored
                )


def config_differences(
    file: CLIPRCSizes, model: CLIPRCSizes, ram_inputs: Sequence[str] = ()
) -> list[tuple[str, Any, Any]]:
    """Which config keys must change so that `model` becomes as large as `file`.

    Args:
        file: sizes of the checkpoint.
        model: sizes of the model that the config built.
        ram_inputs: the config's value, shown where the number of fused features differs.

    Returns:
        (config key, value to set, value now) of each difference; the key `model.clip` stands for the encoder.
    """
    encoders = [(sizes.layers, sizes.width, sizes.patch, sizes.joint) for sizes in (file, model)]
    found: list[tuple[str, Any, Any]] = []
    if encoders[0] != encoders[1]:
        found.append(("model.clip", *(_encoder_text(*sizes) for sizes in encoders)))
    for key in ("num_prompts", "decoder_layers", "recovery_layers"):
        found.append((f"model.{key}", getattr(file, key), getattr(model, key)))
    found.append(("model.train_regions", file.trained_regions, model.trained_regions))
    if file.num_regions is not None and model.num_regions is not None:
        found.append(("model.num_regions", file.num_regions, model.num_regions))
    if encoders[0][3] == encoders[1][3] and file.fused_inputs != model.fused_inputs:
        choices = {0: "()", 1: "('global',) or ('region',)", 2: "('global', 'region')"}
        found.append(("model.ram_inputs", choices.get(file.fused_inputs, "another"), tuple(ram_inputs)))
    return [(key, wanted, now) for key, wanted, now in found if wanted != now]


def _encoder_text(layers: int, width: int, patch: int, joint: int) -> str:
    return f"a CLIP of {layers} layers, width {width}, patch {patch}, joint width {joint}"
