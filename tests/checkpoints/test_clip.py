"""Name maps of CLIP are strict both ways, and the same weights under any naming give the same state dict."""

import numpy as np
import pytest

from jseg.checkpoints.clip import HUGGING_FACE, OPEN_CLIP, OPENAI, clip_from_any, clip_to_hugging_face

WIDTH, JOINT, PATCH, VOCABULARY, CONTEXT = 6, 4, 2, 11, 5
Arrays = dict[str, np.ndarray]


def block(prefix: str, width: int, generator: np.random.Generator) -> Arrays:
    shapes = {
        "attn.in_proj_weight": (3 * width, width),
        "attn.in_proj_bias": (3 * width,),
        "attn.out_proj.weight": (width, width),
        "attn.out_proj.bias": (width,),
        "ln_1.weight": (width,),
        "ln_1.bias": (width,),
        "mlp.c_fc.weight": (4 * width, width),
        "mlp.c_fc.bias": (4 * width,),
        "mlp.c_proj.weight": (width, 4 * width),
        "mlp.c_proj.bias": (width,),
        "ln_2.weight": (width,),
        "ln_2.bias": (width,),
    }
    return {prefix + name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def openai_clip() -> Arrays:
    """A CLIP of two layers a tower, as OpenAI's code names it (clip/model.py)."""
    generator = np.random.default_rng(0)
    shapes = {
        "positional_embedding": (CONTEXT, WIDTH),
        "text_projection": (WIDTH, JOINT),
        "logit_scale": (),
        "visual.class_embedding": (WIDTH,),
        "visual.positional_embedding": (10, WIDTH),
        "visual.proj": (WIDTH, JOINT),
        "visual.conv1.weight": (WIDTH, 3, PATCH, PATCH),
        "token_embedding.weight": (VOCABULARY, WIDTH),
    }
    for norm in ("visual.ln_pre", "visual.ln_post", "ln_final"):
        shapes[f"{norm}.weight"] = shapes[f"{norm}.bias"] = (WIDTH,)
    state = {name: generator.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    for tower in ("transformer", "visual.transformer"):
        for layer in range(2):
            state.update(block(f"{tower}.resblocks.{layer}.", WIDTH, generator))
    return state


def same(first: Arrays, second: Arrays) -> None:
    assert set(first) == set(second)
    for name in first:
        np.testing.assert_array_equal(first[name], second[name], err_msg=name)


def test_openai_names_with_the_extra_numbers_of_its_archives() -> None:
    extra = {"input_resolution": np.array(6), "context_length": np.array(5), "vocab_size": np.array(11)}
    state, report = clip_from_any({**openai_clip(), **extra})
    report.check("file")
    assert report.kind == OPENAI and set(report.ignored) == set(extra)
    same(state, openai_clip())


def test_hugging_face_names() -> None:
    """Spot checks by hand against transformers' modeling_clip.py, then the whole dictionary."""
    clip = openai_clip()
    foreign = clip_to_hugging_face(clip)
    weight = clip["visual.transformer.resblocks.1.attn.in_proj_weight"]
    layer = "vision_model.encoder.layers.1."
    np.testing.assert_array_equal(foreign[layer + "self_attn.q_proj.weight"], weight[:WIDTH])
    np.testing.assert_array_equal(foreign[layer + "self_attn.k_proj.weight"], weight[WIDTH : 2 * WIDTH])
    np.testing.assert_array_equal(foreign[layer + "self_attn.v_proj.weight"], weight[2 * WIDTH :])
    np.testing.assert_array_equal(
        foreign[layer + "mlp.fc1.bias"], clip["visual.transformer.resblocks.1.mlp.c_fc.bias"]
    )
    np.testing.assert_array_equal(foreign["visual_projection.weight"], clip["visual.proj"].T)
    np.testing.assert_array_equal(foreign["text_projection.weight"], clip["text_projection"].T)
    np.testing.assert_array_equal(foreign["vision_model.pre_layrnorm.weight"], clip["visual.ln_pre.weight"])
    np.testing.assert_array_equal(
        foreign["text_model.encoder.layers.0.layer_norm2.bias"], clip["transformer.resblocks.0.ln_2.bias"]
    )
    assert len(foreign) == len(clip) + 4 * 4  # q, k, v for one tensor, weight and bias, four layers
    foreign["vision_model.embeddings.position_ids"] = np.arange(10)[None]
    state, report = clip_from_any(foreign)
    report.check("file")
    assert report.kind == HUGGING_FACE and report.ignored == ("vision_model.embeddings.position_ids",)
    same(state, clip)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_open_clip_names_with_and_without_a_text_module(prefix: str) -> None:
    clip = openai_clip()
    tower = {
        name: f"text.{name}" if not name.startswith("visual.") and name != "logit_scale" else name
        for name in clip
    }
    foreign = {prefix + tower[name]: array for name, array in clip.items()}
    foreign[f"{prefix}text.attn_mask"] = np.zeros((5, 5), np.float32)
    foreign[f"{prefix}logit_scale"] = clip["logit_scale"].reshape(1)
    state, report = clip_from_any(foreign)
    report.check("file")
    assert report.kind == OPEN_CLIP and report.ignored == (f"{prefix}text.attn_mask",)
    same(state, clip)


@pytest.mark.parametrize("convert", [dict, clip_to_hugging_face])
def test_missing_and_unknown_names_are_reported(convert) -> None:
    foreign = convert(openai_clip())
    gone = next(name for name in foreign if "ln_post" in name or "post_layernorm" in name)
    del foreign[gone]
    foreign["visual.surprise"] = np.zeros(1)
    _, report = clip_from_any(foreign)
    assert report.unused == ("visual.surprise",) and len(report.missing) == 1
    with pytest.raises(ValueError, match=r"some\.pt.*visual\.ln_post.*visual\.surprise"):
        report.check("some.pt")


def test_a_missing_key_projection_is_a_missing_tensor() -> None:
    foreign = clip_to_hugging_face(openai_clip())
    del foreign["text_model.encoder.layers.0.self_attn.k_proj.bias"]
    _, report = clip_from_any(foreign)
    assert report.missing == ("transformer.resblocks.0.attn.in_proj_bias",)
    assert set(report.unused) == {f"text_model.encoder.layers.0.self_attn.{part}_proj.bias" for part in "qv"}


def test_a_missing_layer_in_the_middle_is_noticed() -> None:
    clip = {
        name: array
        for name, array in openai_clip().items()
        if not name.startswith("transformer.resblocks.0.")
    }
    assert len(clip_from_any(clip)[1].missing) == 12


@pytest.mark.parametrize("names", [["conv.weight"], ["backbone.proj"], []])
def test_what_is_no_clip_is_refused(names) -> None:
    with pytest.raises(ValueError):
        clip_from_any({name: np.zeros(1) for name in names})
