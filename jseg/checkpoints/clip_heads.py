"""Attention heads of a CLIP: no weight file stores their number, so what is known beside it must agree."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jseg.checkpoints.formats.tensor_map import file_error

CHANNELS_PER_HEAD = 64
"""Of all models that OpenAI published, and of most others."""

# Widths of vision towers whose models have other heads: ViT-H-14, ViT-g-14 and ViT-bigG-14 of open_clip.
_OTHER_HEADS = {1280: 80, 1408: 88, 1664: 104}
_TOWERS = {"vision": "visual.class_embedding", "text": "ln_final.weight"}
_USUAL_HEADS = {"vision": 12, "text": 8}  # transformers' defaults, which its files may leave out


def check_heads(path: str, state: Mapping[str, np.ndarray]) -> None:
    """Refuses a CLIP that jseg would compute with other heads, or another activation, than it has.

    Read are `config.json` (transformers) and `open_clip_config.json` beside the file, where there are such.

    Args:
        path: the weight file.
        state: its tensors under OpenAI's names.

    Raises:
        ValueError: naming what contradicts.
    """
    widths = {tower: state[name].shape[0] for tower, name in _TOWERS.items()}
    for tower, width in widths.items():
        if width % CHANNELS_PER_HEAD:
            raise file_error(
                path,
                f"its {tower} tower is {width} wide, no multiple of the {CHANNELS_PER_HEAD} channels of a "
                "head; use another CLIP",
            )
    if widths["vision"] in _OTHER_HEADS:
        channels = _OTHER_HEADS[widths["vision"]]
        raise file_error(
            path,
            f"its vision tower is {widths['vision']} wide; the models of this width have heads of {channels} "
            f"channels, and jseg computes heads of {CHANNELS_PER_HEAD} alone; use another CLIP",
        )
    for name, claims in (("config.json", _transformers), ("open_clip_config.json", _open_clip)):
        beside = Path(path).parent / name
        for key, said, computed in claims(_read(beside), widths):
            if said != computed:
                raise file_error(
                    path,
                    f"{beside} says {key} = {said!r}, but jseg would compute with {computed!r}; use "
                    "another CLIP, or remove that file if it belongs to another",
                )


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _transformers(config: Mapping[str, Any], widths: Mapping[str, int]) -> list[tuple[str, Any, Any]]:
    """(key, what the file says, what jseg computes) of a CLIPModel's configuration."""
    claims: list[tuple[str, Any, Any]] = []
    if config.get("model_type") != "clip":
        return claims
    for tower, width in widths.items():
        part = config.get(f"{tower}_config")
        part = part if isinstance(part, dict) else {}
        heads = part.get("num_attention_heads", _USUAL_HEADS[tower])
        claims.append((f"{tower}_config.num_attention_heads", heads, width // CHANNELS_PER_HEAD))
        claims.append((f"{tower}_config.hidden_act", part.get("hidden_act", "quick_gelu"), "quick_gelu"))
    return claims


def _open_clip(config: Mapping[str, Any], widths: Mapping[str, int]) -> list[tuple[str, Any, Any]]:
    model = config.get("model_cfg")
    if not isinstance(model, dict) or not all(isinstance(model.get(f"{t}_cfg"), dict) for t in widths):
        return []
    return [
        ("model_cfg.vision_cfg.head_width", model["vision_cfg"].get("head_width", 64), CHANNELS_PER_HEAD),
        ("model_cfg.text_cfg.heads", model["text_cfg"].get("heads", 8), widths["text"] // CHANNELS_PER_HEAD),
        ("model_cfg.quick_gelu", model.get("quick_gelu", False), True),
    ]
