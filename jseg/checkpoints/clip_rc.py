"""CLIP-RC in weight files: translates tensor names between the releases and jseg.

Both use the names of the PyTorch release (`backbone.*`, `decode_head.*`), as does the JSeg release (.pkl).
The releases contain unused tensors, which are ignored on reading and filled in on writing.
"""

from collections.abc import Iterable

import numpy as np

from jseg.checkpoints.clip import CLIP_RC, Arrays, NameReport, count_layers
from jseg.checkpoints.clip_rc_architecture import (
    REGION_TOKENS,
    STREAMS,
    ZEGCLIP_LAYERS,
    CLIPRCArchitecture,
    ZegCLIPArchitecture,
    decoder_layer_shapes,
    is_zegclip,
    named_parameters,
)
from jseg.checkpoints.formats.reader import read_tensors
from jseg.checkpoints.formats.tensor_map import TensorMap, check_finite, file_error
from jseg.files import PathLike

LOSS_BUFFERS = "decode_head.loss_decode."
"""Buffers of the released loss, which are not parameters."""


def regions_are_untrained(tensors: Arrays) -> bool:
    """Whether all stored region tokens equal class embedding + position of CLS, their fixed or initial value
    in the releases."""
    tokens = np.asarray(tensors[REGION_TOKENS], np.float64)
    start = (
        np.asarray(tensors["backbone.class_embedding"], np.float64)
        + tensors["backbone.positional_embedding"][0]
    )
    if tokens.ndim != 2 or tokens.shape[1:] != start.shape:
        return False
    # Half precision has 11 significant bits.
    tolerance = 2e-3 if tensors[REGION_TOKENS].dtype == np.float16 else 1e-5
    return bool(np.abs(tokens - start).max(initial=0) <= tolerance * max(1.0, np.abs(start).max()))


def clip_rc_from_release(
    tensors: Arrays, trained_regions: bool | None = None
) -> tuple[dict[str, np.ndarray], NameReport]:
    """Converts a released CLIP-RC (PyTorch or JSeg) or ZegCLIP to jseg's. Tensors for which `is_unused` is
    true are ignored.

    Args:
        tensors: names and values of the release, with or without the prefix `module.`.
        trained_regions: whether region tokens are parameters. By default, if they differ from their initial
            value.
    """
    tensors = {name.removeprefix("module."): tensors[name] for name in tensors}
    names = list(tensors)
    if trained_regions is None:
        needed = (REGION_TOKENS, "backbone.class_embedding", "backbone.positional_embedding")
        trained_regions = all(name in tensors for name in needed) and not regions_are_untrained(tensors)
    expected = named_parameters(names, trained_regions)
    known = set(expected)
    others = [name for name in names if name not in known]
    ignored = tuple(name for name in others if is_unused(name, names))
    unused = tuple(name for name in others if not is_unused(name, names))
    missing = tuple(name for name in expected if name not in tensors)
    state = {name: tensors[name] for name in expected if name in tensors}
    return state, NameReport("ZegCLIP" if is_zegclip(names) else CLIP_RC, ignored, unused, missing)


def is_unused(name: str, names: Iterable[str]) -> bool:
    """Whether a released tensor has no effect on any output. `names` are all tensors of the file.

    These are `self_attn.*` and `norm1.*` of decoder layers, in ZegCLIP also all but queries and keys of the
    last layer, untrained region tokens, a text encoder, and buffers of the loss.
    """
    if name == REGION_TOKENS or name.startswith(("text_encoder.", LOSS_BUFFERS)):
        return True
    streams = [f"decode_head.{stream}." for pair in STREAMS for stream in pair]
    if not name.startswith((ZEGCLIP_LAYERS, *streams)):
        return False
    last = f"{ZEGCLIP_LAYERS}{count_layers(list(names), ZEGCLIP_LAYERS) - 1}."
    return ".self_attn." in name or ".norm1." in name or name.startswith(last)


def clip_rc_to_release(
    state: Arrays, num_regions: int = 16, trained_classes: int | None = None
) -> dict[str, np.ndarray]:
    """Converts jseg's CLIP-RC or ZegCLIP to all names of the release, so that its code loads it strictly.

    Unused tensors are filled in: zeros for `self_attn`, 1 and 0 for `norm1`. CLIP-RC: region tokens get their
    untrained value, `num_regions` of them, unless `state` contains trained ones. ZegCLIP: the unused parts of
    the last layer, and the class weights of the loss, of which the release stores `trained_classes` + 1.

    Raises:
        ValueError: if `state` is not a complete model, or the number of trained classes of a ZegCLIP is
            unknown.
    """
    result, report = clip_rc_from_release(state, REGION_TOKENS in state)
    report.check("the state dict")
    width, dtype = result["decode_head.q_proj.bias"].shape[0], result["decode_head.q_proj.bias"].dtype
    if is_zegclip(result):
        if trained_classes is None:
            raise ValueError(
                "the release of ZegCLIP stores a number for each trained class, but this file lacks "
                "their number; convert the run's checkpoint, or use --to jseg"
            )
        last = f"{ZEGCLIP_LAYERS}{count_layers(list(result), ZEGCLIP_LAYERS) - 1}."
        for name, shape in decoder_layer_shapes(width).items():
            result.setdefault(last + name, _filled(name, shape, dtype))
        weights = np.ones(trained_classes + 1, dtype)
        weights[-1] = 0.1
        result[f"{LOSS_BUFFERS}criterion.empty_weight"] = weights
    elif REGION_TOKENS not in result:
        start = result["backbone.class_embedding"] + result["backbone.positional_embedding"][0]
        result[REGION_TOKENS] = np.tile(start, (num_regions, 1))
    streams = [f"decode_head.{stream}." for pair in STREAMS for stream in pair]
    for prefix in (*streams, ZEGCLIP_LAYERS):
        for layer in range(count_layers(list(result), prefix)):
            for name, shape in _unused_shapes(width).items():
                result[f"{prefix}{layer}.{name}"] = _filled(name, shape, dtype)
    return result


def _unused_shapes(width: int) -> dict[str, tuple[int, ...]]:
    """Shapes of the unused tensors that the release stores with each decoder layer."""
    return {
        "norm1.weight": (width,),
        "norm1.bias": (width,),
        "self_attn.in_proj_weight": (3 * width, width),
        "self_attn.in_proj_bias": (3 * width,),
        "self_attn.out_proj.bias": (width,),
        "self_attn.out_proj.weight": (width, width),
    }


def _filled(name: str, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    return (np.ones if "norm" in name and name.endswith("weight") else np.zeros)(shape, dtype)


def load_model_state(path: PathLike) -> tuple[dict[str, np.ndarray], CLIPRCArchitecture]:
    """Loads a complete CLIP-RC from a file of any format: the PyTorch or JSeg release, or a converted one.

    Returns:
        The parameters of jseg's CLIP-RC (half precision is kept, and arrays may be read-only), and the
        architecture derived from them.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is damaged, of another model, incomplete or not finite. The message names file and
            tensors.
    """
    tensors = read_tensors(path)
    check_is_clip_rc(tensors)
    state, report = clip_rc_from_release(tensors)
    report.check(tensors.path)
    check_finite(tensors.path, state)
    return state, architecture_of(state, path, stored_regions(tensors))


def architecture_of(
    state: Arrays, source: PathLike, num_regions: int | None, train_regions: bool | None = None
) -> CLIPRCArchitecture:
    """Derives the architecture from the parameters of a complete CLIP-RC or ZegCLIP.

    Args:
        state: name -> values.
        source: the file, for the message.
        num_regions: M, which cannot be derived from untrained region tokens.
        train_regions: whether region tokens are parameters. By default, if `state` contains them.

    Raises:
        ValueError: if the shapes are not those of a CLIP-RC.
    """
    shapes = {name: array.shape for name, array in state.items()}
    kind = ZegCLIPArchitecture if is_zegclip(state) else CLIPRCArchitecture
    trained = REGION_TOKENS in state if train_regions is None else train_regions
    return kind.from_shapes(shapes, source, num_regions, trained)


def stored_regions(tensors: TensorMap) -> int | None:
    """Returns the number of region tokens in the file, trained or not, or None if there are none."""
    name = next((name for name in tensors if name.endswith(REGION_TOKENS)), None)
    return None if name is None else tensors.entry(name).shape[0]


def check_is_clip_rc(tensors: TensorMap) -> None:
    """Raises `ValueError` if the file is not a CLIP-RC (the message says what it is), or its embeddings are
    invalid."""
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
                    tensors.path, f"shape {shape} is not that of a CLIP-RC; use another file", stored
                )
