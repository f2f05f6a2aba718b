"""A CLIP whose heads or activation are not those that jseg computes with is refused, not computed wrongly."""

import json

import numpy as np
import pytest

from jseg.checkpoints.clip_heads import check_heads


def towers(vision, text):
    return {"visual.class_embedding": np.zeros(vision), "ln_final.weight": np.zeros(text)}


def transformers(vision=12, text=8, act="quick_gelu"):
    parts = {"vision_config": {"num_attention_heads": vision, "hidden_act": act}}
    return {"model_type": "clip", **parts, "text_config": {"num_attention_heads": text}}


def open_clip(head_width=64, heads=8, quick_gelu=True):
    towers = {"vision_cfg": {"head_width": head_width}, "text_cfg": {"heads": heads}}
    return {"model_cfg": {**towers, "quick_gelu": quick_gelu}}


@pytest.mark.parametrize("vision, text", [(768, 512), (64, 64), (1024, 768)])
def test_heads_of_64_channels_pass(tmp_path, vision, text):
    check_heads(str(tmp_path / "clip.pt"), towers(vision, text))


@pytest.mark.parametrize(
    "vision, text, number", [(96, 64, 96), (64, 32, 32), (1280, 1024, 80), (1664, 1280, 104)]
)
def test_other_widths_are_refused(tmp_path, vision, text, number):
    """A file of width 96 got one head, and ViT-H-14 20 instead of 16."""
    with pytest.raises(ValueError, match=rf"clip\.pt.*\b{number}\b.*\b64\b"):
        check_heads(str(tmp_path / "clip.pt"), towers(vision, text))


@pytest.mark.parametrize(
    "name, config, key",
    [
        ("config.json", transformers(), None),
        ("config.json", {"model_type": "clip"}, None),
        ("config.json", {"model_type": "bert", "vision_config": {"num_attention_heads": 3}}, None),
        ("config.json", transformers(vision=16), "vision_config.num_attention_heads"),
        ("config.json", transformers(text=4), "text_config.num_attention_heads"),
        ("config.json", transformers(act="gelu"), "vision_config.hidden_act"),
        ("open_clip_config.json", open_clip(), None),
        ("open_clip_config.json", open_clip(head_width=80), "head_width"),
        ("open_clip_config.json", open_clip(heads=16), "text_cfg.heads"),
        ("open_clip_config.json", open_clip(quick_gelu=False), "quick_gelu"),
        ("open_clip_config.json", [], None),
    ],
)
def test_the_configuration_beside_the_file(tmp_path, name, config, key):
    (tmp_path / name).write_text(json.dumps(config))
    if key is None:
        check_heads(str(tmp_path / "clip.pt"), towers(768, 512))
        return
    with pytest.raises(ValueError, match=rf"clip\.pt.*{name}.*{key}"):
        check_heads(str(tmp_path / "clip.pt"), towers(768, 512))
