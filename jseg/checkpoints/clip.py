"""CLIP in weight files: translates tensor names between other projects and jseg, strictly in both directions.

jseg's CLIP uses OpenAI's names. `clip_rc` does the same for segmentation models. The functions map state
dicts to state dicts, and also return a report of the names that were ignored on purpose, that are left over,
and that are missing. `NameReport.check` raises an error for the last two.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from jseg.checkpoints.formats.tensor_map import TensorMap, check_finite, file_error
from jseg.checkpoints.positions import square_grid
from jseg.names import shortened

Arrays = Mapping[str, np.ndarray]

OPENAI, HUGGING_FACE, OPEN_CLIP, CLIP_RC = "OpenAI CLIP", "Hugging Face CLIPModel", "open_clip", "CLIP-RC"

BLOCK = (
    "attn.in_proj_weight",
    "attn.in_proj_bias",
    "attn.out_proj.weight",
    "attn.out_proj.bias",
    "ln_1.weight",
    "ln_1.bias",
    "ln_2.weight",
    "ln_2.bias",
    "mlp.c_fc.weight",
    "mlp.c_fc.bias",
    "mlp.c_proj.weight",
    "mlp.c_proj.bias",
)
VISION = (
    "class_embedding",
    "positional_embedding",
    "proj",
    "conv1.weight",
    "ln_pre.weight",
    "ln_pre.bias",
    "ln_post.weight",
    "ln_post.bias",
)
_TEXT = (
    "positional_embedding",
    "text_projection",
    "logit_scale",
    "token_embedding.weight",
    "ln_final.weight",
    "ln_final.bias",
)
_NOT_PARAMETERS = ("input_resolution", "context_length", "vocab_size", "attn_mask")
"""Numbers and the causal mask that OpenAI's archives and open_clip store with the parameters."""


@dataclass(frozen=True)
class NameReport:
    """Result of translating the names of a file. `kind` is the project that they belong to."""

    kind: str
    ignored: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()

    def check(self, source: str) -> None:
        """Raises `ValueError` with `source` and the names if any name is left over or missing."""
        if self.unused or self.missing:
            raise ValueError(
                f"{source} is not a complete {self.kind} checkpoint: missing {_some(self.missing)}; "
                f"unknown {_some(self.unused)}; use a file of one complete model"
            )


def _some(names: Sequence[str], limit: int = 5) -> str:
    """Formats names of a file, which may be very long or contain unprintable text."""
    return shortened([ascii(name)[1:-1][:100] for name in names], limit)


def count_layers(names: Sequence[str], prefix: str) -> int:
    """Returns the number of layers in `prefix`: the highest index + 1, so that gaps appear as missing
    names."""
    indices = [name[len(prefix) :].split(".")[0] for name in names if name.startswith(prefix)]
    return max((int(index) + 1 for index in indices if index.isdecimal() and len(index) < 4), default=0)


def block_names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{layer}.{name}" for layer in range(count) for name in BLOCK]


def clip_parameter_names(vision_layers: int, text_layers: int) -> list[str]:
    """Returns all parameters of a ViT CLIP with OpenAI's names."""
    return (
        [f"visual.{name}" for name in VISION]
        + block_names("visual.transformer.resblocks.", vision_layers)
        + list(_TEXT)
        + block_names("transformer.resblocks.", text_layers)
    )


def clip_kind(names: Sequence[str]) -> str:
    """Returns the project to which names belong: `OPENAI`, `HUGGING_FACE`, `OPEN_CLIP` or `CLIP_RC`.

    open_clip and OpenAI use the same names for the common models. These are classified as OpenAI's unless
    there is a sign of open_clip.

    Raises:
        ValueError: if it is none of them.
    """
    found = set(names)
    if any(name.startswith(("vision_model.", "text_model.")) for name in found):
        return HUGGING_FACE
    if any(name.startswith(("backbone.", "module.backbone.")) for name in found):
        return CLIP_RC
    if any(name.startswith(("module.", "text.")) for name in found) or "attn_mask" in found:
        return OPEN_CLIP
    if any(name.startswith("visual.") for name in found):
        return OPENAI
    raise ValueError(
        f"not a CLIP: the tensor names ({_some(sorted(found), 3)}) are not those of OpenAI, Hugging Face "
        "CLIPModel, open_clip or CLIP-RC"
    )


def clip_from_any(tensors: Arrays) -> tuple[dict[str, np.ndarray], NameReport]:
    """Converts a CLIP of OpenAI, Hugging Face (`CLIPModel`) or open_clip to jseg's CLIP (OpenAI's names).

    Types and values are kept; `logit_scale` becomes a 0-d array. Missing and unused names are only reported.

    Raises:
        ValueError: if the names do not belong to a CLIP.
    """
    kind = clip_kind(list(tensors))
    if kind == CLIP_RC:
        raise ValueError(
            "these are CLIP-RC weights (a segmentation model), not a CLIP with a text tower; "
            "use the CLIP that it was trained from"
        )
    if kind == HUGGING_FACE:
        state, ignored, unused = _from_hugging_face(tensors)
    else:
        state, ignored, unused = {}, [], []
        for name in tensors:
            own = _open_clip_name(name)
            if own.rpartition(".")[2] in _NOT_PARAMETERS:
                ignored.append(name)
            else:
                state[own] = tensors[name]
    expected = clip_parameter_names(
        count_layers(list(state), "visual.transformer.resblocks."),
        count_layers(list(state), "transformer.resblocks."),
    )
    unused += [name for name in state if name not in set(expected)]
    missing = tuple(name for name in expected if name not in state)
    state = {name: state[name] for name in expected if name in state}
    if "logit_scale" in state and state["logit_scale"].size == 1:
        state["logit_scale"] = state["logit_scale"].reshape(())
    return state, NameReport(kind, tuple(ignored), tuple(unused), missing)


def _open_clip_name(name: str) -> str:
    """Removes `module.` of parallel training and the `text.` prefix of newer open_clip models."""
    for prefix in ("module.", "text."):
        name = name.removeprefix(prefix)
    return name


_HF_BLOCK = {
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
_HF_PLAIN = {
    "logit_scale": "logit_scale",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    # The library spells it "layrnorm".
    "vision_model.pre_layrnorm.weight": "visual.ln_pre.weight",
    "vision_model.pre_layrnorm.bias": "visual.ln_pre.bias",
    "vision_model.post_layernorm.weight": "visual.ln_post.weight",
    "vision_model.post_layernorm.bias": "visual.ln_post.bias",
}
_HF_TRANSPOSED = {"text_projection.weight": "text_projection", "visual_projection.weight": "visual.proj"}
_HF_IGNORED = ("text_model.embeddings.position_ids", "vision_model.embeddings.position_ids")
_HF_TOWERS = {
    "text_model.encoder.layers.": "transformer.resblocks.",
    "vision_model.encoder.layers.": "visual.transformer.resblocks.",
}


def _from_hugging_face(tensors: Arrays) -> tuple[dict[str, np.ndarray], list[str], list[str]]:
    """Returns state dict, ignored and unused names. q, k and v are stacked into OpenAI's `in_proj`."""
    state: dict[str, np.ndarray] = {}
    ignored: list[str] = []
    unused: list[str] = []
    parts: dict[str, dict[str, str]] = {}
    for name in tensors:
        own = _HF_PLAIN.get(name)
        if own is not None:
            state[own] = tensors[name]
        elif name in _HF_TRANSPOSED:
            state[_HF_TRANSPOSED[name]] = tensors[name].T
        elif name in _HF_IGNORED:
            ignored.append(name)
        elif not _hugging_face_block(name, tensors, state, parts):
            unused.append(name)
    for own, sources in parts.items():
        if set(sources) == {"q", "k", "v"}:
            state[own] = np.concatenate([tensors[sources[part]] for part in "qkv"])
        else:
            unused += list(sources.values())  # in_proj is then reported as missing
    return state, ignored, unused


def _hugging_face_block(
    name: str, tensors: Arrays, state: dict[str, np.ndarray], parts: dict[str, dict[str, str]]
) -> bool:
    """Handles a tensor of a transformer layer. Returns False if the name is not that of one."""
    for prefix, own_prefix in _HF_TOWERS.items():
        if not name.startswith(prefix):
            continue
        layer, _, rest = name[len(prefix) :].partition(".")
        module, _, kind = rest.rpartition(".")
        if not layer.isdecimal() or kind not in ("weight", "bias"):
            return False
        if module in _HF_BLOCK:
            state[f"{own_prefix}{layer}.{_HF_BLOCK[module]}.{kind}"] = tensors[name]
            return True
        if module in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"):
            parts.setdefault(f"{own_prefix}{layer}.attn.in_proj_{kind}", {})[module[len("self_attn.")]] = name
            return True
    return False


def clip_to_hugging_face(state: Arrays) -> dict[str, np.ndarray]:
    """Converts jseg's CLIP to the names of Hugging Face's `CLIPModel` (without its `position_ids` buffers).

    Raises:
        ValueError: if a name is not a parameter of CLIP.
    """
    plain = {own: name for name, own in _HF_PLAIN.items()}
    transposed = {own: name for name, own in _HF_TRANSPOSED.items()}
    modules = {own: name for name, own in _HF_BLOCK.items()}
    result: dict[str, np.ndarray] = {}
    for own, array in state.items():
        if own in plain:
            result[plain[own]] = array
            continue
        if own in transposed:
            result[transposed[own]] = array.T
            continue
        prefix = next((name for name, tower in _HF_TOWERS.items() if own.startswith(tower)), None)
        layer, _, rest = own[len(_HF_TOWERS[prefix]) :].partition(".") if prefix else ("", "", "")
        module, _, kind = rest.rpartition(".")
        if module in modules:
            result[f"{prefix}{layer}.{modules[module]}.{kind}"] = array
        elif rest in ("attn.in_proj_weight", "attn.in_proj_bias"):
            for part, block in zip("qkv", np.split(array, 3)):
                result[f"{prefix}{layer}.self_attn.{part}_proj.{rest[len('attn.in_proj_') :]}"] = block
        else:
            raise ValueError(f"{own} is not a parameter of CLIP")
    return result


def clip_state(tensors: TensorMap, finite: bool = True) -> tuple[dict[str, np.ndarray], NameReport]:
    """Returns a complete CLIP from an opened file: `clip_from_any` and its check, with the file in every
    error.

    Args:
        finite: read all values and check that they are finite. Otherwise uncompressed files are mapped and
            not read, and the caller checks the values that it uses with `check_finite`.

    Raises:
        ValueError: if it is a ResNet CLIP, a CLIP-RC or something else, names are missing or left over, or
            values are not finite.
    """
    if any(name.startswith(("visual.layer1.", "module.visual.layer1.")) for name in tensors):
        raise file_error(
            tensors.path, "is a ResNet CLIP, which jseg does not implement; use ViT-B/16, B/32 or L/14"
        )
    try:
        state, report = clip_from_any(tensors)
    except ValueError as error:
        raise file_error(tensors.path, str(error)) from error
    report.check(tensors.path)
    if finite:
        check_finite(tensors.path, state)
    _check_shapes(tensors.path, state)
    return state, report


# Tensors that determine the sizes of a CLIP, and their numbers of dimensions.
_DIMENSIONS = {
    "visual.conv1.weight": 4,
    "visual.positional_embedding": 2,
    "visual.proj": 2,
    "token_embedding.weight": 2,
    "positional_embedding": 2,
    "text_projection": 2,
}


def _check_shapes(path: str, state: Arrays) -> None:
    for name, count in _DIMENSIONS.items():
        if state[name].ndim != count:
            raise file_error(
                path, f"shape {state[name].shape} is not that of a ViT CLIP; use another file", name
            )
    try:
        square_grid(state["visual.positional_embedding"])
    except ValueError as error:
        raise file_error(path, f"{error}; use another file", "visual.positional_embedding") from error
