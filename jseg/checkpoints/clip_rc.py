"""CLIP-RC in weight files: the tensor names of the releases <-> jseg's.

Both use the names of the PyTorch release (`backbone.*`, `decode_head.*`), and so does the JSeg release
(.pkl). The releases carry more than anything uses: that is ignored on the way in and filled on the way out.
"""

import numpy as np

from jseg.checkpoints.clip import CLIP_RC, Arrays, NameReport, count_layers
from jseg.checkpoints.clip_rc_architecture import REGION_TOKENS, STREAMS, CLIPRCArchitecture, named_parameters
from jseg.checkpoints.formats.reader import read_tensors
from jseg.checkpoints.formats.tensor_map import TensorMap, check_finite, file_error
from jseg.files import PathLike


def regions_are_untrained(tensors: Arrays) -> bool:
    """Whether the stored region tokens are all class embedding + position of CLS, as the releases start (and
    keep) them."""
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
    expected = named_parameters(names, trained_regions)
    known = set(expected)
    ignored = tuple(name for name in names if name not in known and _is_ignored(name))
    unused = tuple(name for name in names if name not in known and not _is_ignored(name))
    missing = tuple(name for name in expected if name not in tensors)
    state = {name: tensors[name] for name in expected if name in tensors}
    return state, NameReport(CLIP_RC, ignored, unused, missing)


def _is_ignored(name: str) -> bool:
    in_decoder = any(name.startswith(f"decode_head.{stream}.") for streams in STREAMS for stream in streams)
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
    for streams in STREAMS:
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


def load_model_state(path: PathLike) -> tuple[dict[str, np.ndarray], CLIPRCArchitecture]:
    """A whole CLIP-RC from a file of any format: the PyTorch or JSeg release, or a converted one.

    Returns:
        The parameters of jseg's CLIP-RC (half precision is kept, arrays may be read-only) and what they tell
        of its architecture.

    Raises:
        FileNotFoundError: no such file.
        ValueError: damaged, of another model, not complete, or not finite; names file and tensors.
    """
    tensors = read_tensors(path)
    check_is_clip_rc(tensors)
    state, report = clip_rc_from_release(tensors)
    report.check(tensors.path)
    check_finite(tensors.path, state)
    return state, architecture_of(state, path, stored_regions(tensors))


def architecture_of(state: Arrays, source: PathLike, num_regions: int | None) -> CLIPRCArchitecture:
    """The architecture that the parameters of a whole CLIP-RC tell.

    Args:
        state: name -> values.
        source: the file, for the message.
        num_regions: M, which untrained region tokens do not tell.

    Raises:
        ValueError: shapes that no CLIP-RC has.
    """
    shapes = {name: array.shape for name, array in state.items()}
    return CLIPRCArchitecture.from_shapes(shapes, source, num_regions, REGION_TOKENS in state)


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
