"""Names of CLIP-RC: unused tensors of the releases are removed, and filled in again."""

import numpy as np
import pytest

from jseg.checkpoints.clip_rc import clip_rc_from_release, clip_rc_to_release, regions_are_untrained
from jseg.checkpoints.clip_rc_architecture import REGION_TOKENS, clip_rc_parameter_names

Arrays = dict[str, np.ndarray]


def release() -> Arrays:
    """A complete release: three-layer encoder, three decoder layers,
    one recovery layer, region tokens at their start."""
    width = 4
    state: Arrays = {}
    for name in clip_rc_parameter_names(3, 3, 1):
        shape = {"backbone.class_embedding": (width,), "backbone.positional_embedding": (5, width)}.get(
            name, (width,)
        )
        state[name] = np.random.default_rng(len(state)).normal(size=shape).astype(np.float32)
    for stream in ("decoder_q.layers.0", "decoder_v.layers.2", "recovery_decoder.decouple_q.0"):
        state[f"decode_head.{stream}.self_attn.in_proj_weight"] = np.ones((12, 4), np.float32)
        state[f"decode_head.{stream}.norm1.bias"] = np.ones(4, np.float32)
    start = state["backbone.class_embedding"] + state["backbone.positional_embedding"][0]
    state[REGION_TOKENS] = np.tile(start, (4, 1))
    return state


def test_release_loses_exactly_what_nothing_uses() -> None:
    source = release()
    state, report = clip_rc_from_release(source)
    report.check("file")
    assert len(report.ignored) == 7 and REGION_TOKENS in report.ignored
    assert set(state) == set(source) - set(report.ignored)
    assert not any("self_attn" in name or "norm1" in name for name in state)


def test_region_tokens_are_kept_when_they_were_trained() -> None:
    source = release()
    assert regions_are_untrained(source)
    source[REGION_TOKENS] = source[REGION_TOKENS] + np.float32(0.01)
    assert not regions_are_untrained(source)
    state, report = clip_rc_from_release(source)
    report.check("file")
    np.testing.assert_array_equal(state[REGION_TOKENS], source[REGION_TOKENS])
    assert REGION_TOKENS not in clip_rc_from_release(source, trained_regions=False)[0]


def test_release_with_prefix_text_encoder_and_strangers() -> None:
    source = {f"module.{name}": array for name, array in release().items()}
    source["module.text_encoder.ln_final.weight"] = np.zeros(4)
    source["module.backbone.self_attn.weight"] = np.zeros(4)  # not in the decoder: not on the list
    del source["module.decode_head.recovery_decoder.linear_k_out.bias"]
    _, report = clip_rc_from_release(source)
    assert report.unused == ("backbone.self_attn.weight",)
    assert report.missing == ("decode_head.recovery_decoder.linear_k_out.bias",)
    with pytest.raises(ValueError, match="linear_k_out.bias.*backbone.self_attn"):
        report.check("file")


def test_back_to_the_release_and_again() -> None:
    state, _ = clip_rc_from_release(release())
    back = clip_rc_to_release(state, num_regions=16)
    assert back[REGION_TOKENS].shape == (16, 4) and regions_are_untrained(back)
    layers = 2 * 3 + 2 * 1
    assert len(back) == len(state) + 1 + 6 * layers
    assert back["decode_head.decoder_q.layers.1.self_attn.in_proj_weight"].shape == (12, 4)
    np.testing.assert_array_equal(back["decode_head.decoder_v.layers.1.norm1.weight"], np.ones(4))
    again, report = clip_rc_from_release(back)
    report.check("again")
    assert set(again) == set(state)
    for name in state:
        np.testing.assert_array_equal(again[name], state[name], err_msg=name)


def test_back_to_the_release_needs_a_complete_model() -> None:
    state, _ = clip_rc_from_release(release())
    del state["decode_head.q_proj.bias"]
    with pytest.raises(ValueError, match="q_proj.bias"):
        clip_rc_to_release(state)
