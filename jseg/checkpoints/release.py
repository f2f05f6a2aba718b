"""A whole CLIP or CLIP-RC from a file in one call, and the sizes that its tensors tell."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jseg.checkpoints.clip_rc_names import REGION_TOKENS, clip_rc_from_release
from jseg.checkpoints.names import NameReport, clip_from_any, count_layers
from jseg.checkpoints.reader import read_tensors
from jseg.checkpoints.tensor_map import PathLike, TensorMap, file_error

Shapes = Mapping[str, Sequence[int]]

_DIMENSIONS = {
    "backbone.conv1.weight": 4,
    "backbone.proj": 2,
    "backbone.positional_embedding": 2,
    "backbone.prompt_embeddings": 3,
    "decode_head.lateral_proj.weight": 2,
}
"""The tensors that tell the sizes, and their numbers of dimensions."""


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


def clip_state(tensors: TensorMap) -> tuple[dict[str, np.ndarray], NameReport]:
    """A complete CLIP from an opened file: `clip_from_any` and its check, with the file named in every error.

    Raises:
        ValueError: a ResNet CLIP, a CLIP-RC, something else, or names missing or left over.
    """
    if any(name.startswith(("visual.layer1.", "module.visual.layer1.")) for name in tensors):
        raise file_error(
            tensors.path, "is a ResNet CLIP, which jseg does not implement; choose ViT-B/16, B/32 or L/14"
        )
    try:
        state, report = clip_from_any(tensors)
    except ValueError as error:
        raise file_error(tensors.path, str(error)) from error
    report.check(tensors.path)
    return state, report


def load_model_state(path: PathLike) -> tuple[dict[str, np.ndarray], CLIPRCSizes]:
    """A whole CLIP-RC from a file of any format: the PyTorch or JSeg release, or a converted one.

    Returns:
        The parameters of jseg's CLIP-RC (half precision is kept, arrays may be read-only) and their sizes.

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, of another model, or not complete; names file and tensors.
    """
    tensors = read_tensors(path)
    check_is_clip_rc(tensors)
    state, report = clip_rc_from_release(tensors)
    report.check(tensors.path)
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
