"""Attention heads and activation of a CLIP, which are not stored in its tensors but in the configuration next
to the file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jseg.checkpoints.clip import HUGGING_FACE, count_layers
from jseg.checkpoints.formats.tensor_map import file_error
from jseg.files import PathLike

ACTIVATIONS = ("quick_gelu", "gelu")
"""t · sigmoid(1.702 t), used by OpenAI's models, and t · Φ(t), used by most of open_clip and some of Hugging
Face."""

CHANNELS_PER_HEAD = 64
"""Value of all of OpenAI's models, and the default if nothing else is known."""

_OTHER_HEADS = (1280, 1408, 1664)
"""Widths of vision towers whose published models have wider heads: ViT-H-14, ViT-g-14, ViT-bigG-14."""

HUGGING_FACE_CONFIG, OPEN_CLIP_CONFIG = "config.json", "open_clip_config.json"


_LAYER_NORM_EPS = 1e-5
_ONLY = {
    "vision_cfg": {
        "pool_type": "tok",
        "final_ln_after_pool": False,
        "global_average_pool": False,
        "act_kwargs": None,
        "norm_kwargs": None,
    },
    "text_cfg": {
        "pool_type": "argmax",
        "no_causal_mask": False,
        "act_kwargs": None,
        "norm_kwargs": None,
    },
}
"""Options of open_clip that change the computation but no tensor, and the only value that jseg implements."""


class CLIPSizes(NamedTuple):
    """Sizes from the tensors, which a configuration must not contradict. 0: unknown.

    The side of the image is not among them: open_clip resizes the positions of a file to its configuration.
    """

    vision_width: int
    text_width: int
    vision_layers: int = 0
    text_layers: int = 0
    patch_size: int = 0
    joint_width: int = 0


def clip_sizes(state: Mapping[str, np.ndarray]) -> CLIPSizes:
    """Returns the sizes of a ViT CLIP from its tensors, which have OpenAI's names."""
    width, _, patch, _ = state["visual.conv1.weight"].shape
    names = list(state)
    return CLIPSizes(
        vision_width=int(width),
        text_width=int(state["token_embedding.weight"].shape[1]),
        vision_layers=count_layers(names, "visual.transformer.resblocks."),
        text_layers=count_layers(names, "transformer.resblocks."),
        patch_size=int(patch),
        joint_width=int(state["text_projection"].shape[1]),
    )


@dataclass(frozen=True)
class CLIPSettings:
    """Attention heads of the vision and the text tower, and their common activation."""

    vision_heads: int
    text_heads: int
    activation: str = "quick_gelu"

    def metadata(self) -> dict[str, str]:
        """Metadata for jseg's own files, which have no separate configuration."""
        return {
            "vision_heads": str(self.vision_heads),
            "text_heads": str(self.text_heads),
            "activation": self.activation,
        }


def clip_settings(
    path: PathLike,
    kind: str,
    sizes: CLIPSizes,
    metadata: Mapping[str, Any],
    activation: str | None = None,
    heads: tuple[int, int] | None = None,
) -> CLIPSettings:
    """Returns the settings of a CLIP file.

    The sources, in order, are the caller's arguments, the metadata of jseg's own files, and `config.json`
    (Hugging Face) or `open_clip_config.json` in the same folder. The default is that of OpenAI's models:
    heads of 64 channels and QuickGELU.

    Args:
        path: the weight file.
        kind: project whose tensor names it has; see `jseg.checkpoints.clip`.
        sizes: of both towers, from the tensors.
        metadata: metadata of the file.
        activation, heads: (vision, text), for files without this information.

    Raises:
        ValueError: if the configuration contradicts the tensors, or has an activation or option that jseg
            does not implement, or the heads of a tower that cannot be divided into heads of 64 channels are
            unknown.
    """
    said = _own(metadata) or _beside(path, kind, sizes) or {}
    if activation is not None:
        said["activation"] = activation
    if heads is not None:
        said["vision_heads"], said["text_heads"] = heads
    found = said.get("activation", "quick_gelu")
    if found not in ACTIVATIONS:
        raise file_error(
            path,
            f"has the activation {found!r}, which jseg does not support; known: {', '.join(ACTIVATIONS)}",
        )
    counts = [_heads(path, tower, width, said) for tower, width in zip(("vision", "text"), sizes[:2])]
    return CLIPSettings(counts[0], counts[1], str(found))


def _heads(path: PathLike, tower: str, width: int, said: Mapping[str, Any]) -> int:
    count = said.get(f"{tower}_heads")
    if count is None and (width % CHANNELS_PER_HEAD or (tower == "vision" and width in _OTHER_HEADS)):
        raise file_error(
            path,
            f"has a {tower} tower of width {width}, which is not a multiple of {CHANNELS_PER_HEAD} "
            f"channels per head, and its number of heads is unknown; put its {HUGGING_FACE_CONFIG} or "
            f"{OPEN_CLIP_CONFIG} in the same folder, or "
            "convert it with tools/convert_clip.py --heads VISION,TEXT",
        )
    if count is None:
        return width // CHANNELS_PER_HEAD
    if not isinstance(count, int) or count < 1 or width % count:
        raise file_error(
            path, f"cannot have {count!r} attention heads, which do not divide the width {width}"
        )
    return count


def _own(metadata: Mapping[str, Any]) -> dict[str, Any]:
    names = ("vision_heads", "text_heads")
    if not all(str(metadata.get(name, "")).isdecimal() for name in names):
        return {}
    return {**{name: int(metadata[name]) for name in names}, "activation": metadata.get("activation")}


def _beside(path: PathLike, kind: str, sizes: CLIPSizes) -> dict[str, Any]:
    folder = Path(path).parent
    name = HUGGING_FACE_CONFIG if kind == HUGGING_FACE else OPEN_CLIP_CONFIG
    file = folder / name
    if not file.is_file():
        return {}
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        said = _hugging_face(content) if kind == HUGGING_FACE else _open_clip(content)
        other = _not_implemented(content, kind)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{file} is not the configuration of a CLIP ({type(error).__name__}: {error}); copy it again, or "
            "remove it"
        ) from error
    for key, value in sizes._asdict().items():
        told = said.pop(key)
        if value and told != value:
            raise ValueError(
                f"{file} says {key.replace('_', ' ')} {told!r}, but {path} has {value}; replace it by the "
                "configuration of this model"
            )
    if other:
        raise ValueError(f"{file}: jseg does not implement {other}; use another CLIP")
    return said


def _not_implemented(content: Mapping[str, Any], kind: str) -> str:
    """Returns the first option that changes the computation in a way that jseg does not know, or ''."""
    if kind == HUGGING_FACE:
        for tower in ("vision_config", "text_config"):
            eps = content[tower].get("layer_norm_eps", _LAYER_NORM_EPS)
            if eps != _LAYER_NORM_EPS:
                return f"{tower}.layer_norm_eps = {eps!r} (only {_LAYER_NORM_EPS})"
        return ""
    model = content.get("model_cfg", content)
    for tower, options in _ONLY.items():
        for name, only in options.items():
            value = model[tower].get(name, only)
            if value != only and (value or only):  # {} and None are the same
                return f"{tower}.{name} = {value!r} (only {only!r})"
    return ""


def _hugging_face(content: Mapping[str, Any]) -> dict[str, Any]:
    vision, text = content["vision_config"], content["text_config"]
    activations = {part.get("hidden_act", "quick_gelu") for part in (vision, text)}
    if len(activations) > 1:
        raise ValueError(f"its towers have different activations: {', '.join(sorted(activations))}")
    return {
        # Defaults of `CLIPVisionConfig` and `CLIPTextConfig`, which files may omit.
        "vision_width": vision.get("hidden_size", 768),
        "text_width": text.get("hidden_size", 512),
        "vision_layers": vision.get("num_hidden_layers", 12),
        "text_layers": text.get("num_hidden_layers", 12),
        "patch_size": vision.get("patch_size", 32),
        "joint_width": content.get("projection_dim", 512),
        "vision_heads": vision.get("num_attention_heads", 12),
        "text_heads": text.get("num_attention_heads", 8),
        "activation": activations.pop(),
    }


def _open_clip(content: Mapping[str, Any]) -> dict[str, Any]:
    model = content.get("model_cfg", content)
    vision, text = model["vision_cfg"], model["text_cfg"]
    width = vision.get("width", 768)
    return {
        "vision_width": width,
        "text_width": text.get("width", 512),
        "vision_layers": vision.get("layers", 12),
        "text_layers": text.get("layers", 12),
        "patch_size": vision.get("patch_size", 16),
        "joint_width": model["embed_dim"],
        "vision_heads": width // vision.get("head_width", CHANNELS_PER_HEAD),
        "text_heads": text.get("heads", 8),
        "activation": "quick_gelu" if model.get("quick_gelu", False) else "gelu",
    }
