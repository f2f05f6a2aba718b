"""Converts configs and checkpoints of jseg 0.1, which described models by one flat dict."""

import copy
from collections.abc import Mapping
from typing import Any

MOVED: Mapping[str, str] = {
    "num_prompts": "backbone.num_prompts",
    "num_regions": "backbone.num_regions",
    "train_regions": "backbone.train_regions",
    "region_bridge": "backbone.num_regions (0 for no region bridge)",
    "double_class_embedding": "backbone.double_class_embedding",
    "checkpoint_blocks": "backbone.checkpoint_blocks",
    "ram_inputs": "decode_head.ram_inputs",
    "decoder_layers": "decode_head.num_layers",
    "decoder_heads": "decode_head.num_heads",
    "recovery_layers": "decode_head.recovery.num_layers (recovery=None for no recovery decoder)",
    "recovery_loss": "decode_head.recovery.loss",
    "recovery_weight": "decode_head.recovery.weight",
    "focal_weight": "loss.focal_weight",
    "dice_weight": "loss.dice_weight",
    "dropout": "backbone.dropout (and decode_head.dropout)",
}
"""Keys of `model` in 0.1 -> their current keys, as shown in messages."""


def model_from_0_1(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Returns `model` of a 0.1 config or checkpoint in the current form. The current form is returned
    unchanged.

    Of the keys that moved, only those that were set are set, so that the defaults of the parts are the same
    as before. Options that 0.1 did not have get the values by which a model behaves as it did.
    """
    if flat.get("type") != "CLIPRC" or not set(flat) & set(MOVED):
        return copy.deepcopy(dict(flat))
    model = {key: copy.deepcopy(value) for key, value in flat.items() if key not in MOVED}
    model["normalize_text"] = True if flat.get("text_embeddings") else None
    model["pseudo_labels"] = "logits" if flat.get("setting") == "transductive" else "probabilities"
    parts: dict[str, dict[str, Any]] = {
        "backbone": {"type": "RegionBridgeEncoder", "init": "designed"},
        "decode_head": {"type": "CLIPRCHead", "init": "designed", "feed_forward_dropout": 0.0},
        "loss": {"type": "NELLoss"},
    }
    recovery: dict[str, Any] = {}
    for key in MOVED:
        if key not in flat or key in ("region_bridge", "dropout"):
            continue
        part, *rest = MOVED[key].split(" ")[0].split(".")
        target = recovery if rest[0] == "recovery" else parts[part]
        target[rest[-1]] = copy.deepcopy(flat[key])
    if flat.get("region_bridge") is False:
        parts["backbone"]["num_regions"] = 0
    if "dropout" in flat:
        parts["backbone"]["dropout"] = parts["decode_head"]["dropout"] = flat["dropout"]
    if recovery:
        parts["decode_head"]["recovery"] = None if recovery.get("num_layers", 1) is None else recovery
    return {**model, **parts}
