"""Tensor names of the released CLIP-RC checkpoints <-> jseg's CLIP-RC.

Both use the names of the PyTorch release (`backbone.*`, `decode_head.*`), and so does the JSeg release
(.pkl). The releases carry more than anything uses: that is ignored on the way in and filled on the way out.
"""

import numpy as np

from jseg.checkpoints.names import CLIP_RC, VISION, Arrays, NameReport, block_names, count_layers

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
