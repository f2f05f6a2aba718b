"""Initial values as the releases have them or as they were designed, and the dropouts of a training step."""

import numpy as np
import pytest

from jseg.checkpoints import EncoderSizes
from jseg.models.segmentors import CLIPRC, ZegCLIP
from jseg.runtime.backend import jt

JOINT, WIDTH = 64, 64


def build(kind=CLIPRC, head="CLIPRCHead", layers=2, backbone=None, **options):
    np.random.seed(0)
    text = np.random.default_rng(3).normal(size=(4, JOINT))
    regions = 4 if head == "CLIPRCHead" else 0
    return kind.from_sizes(
        EncoderSizes(layers=layers, width=WIDTH, patch_size=8, joint_width=JOINT),
        1,
        text / np.linalg.norm(text, axis=1, keepdims=True),
        (1,),
        backbone=dict(type="RegionBridgeEncoder", num_prompts=3, num_regions=regions, **(backbone or {})),
        decode_head=dict(type=head, num_heads=1, **options),
        image_size=32,
    )


def parameters(model):
    return {name: value.numpy() for name, value in model.trainable_parameters().items()}


def assert_uniform(values, bound, name):
    """Standard deviation and range of a uniform distribution, within five standard errors."""
    assert np.abs(values).max() <= bound, name
    assert values.std() == pytest.approx(bound / 3**0.5, rel=5 / values.size**0.5), name
    if values.size > 1000:
        assert np.abs(values).max() > 0.99 * bound, name


def assert_normal(values, std, name, cut=None):
    """Standard deviation and tails of a normal distribution, which `cut` standard deviations may truncate."""
    shrunk = 1.0 if cut is None else 0.8796  # of a normal distribution truncated at two
    assert values.std() == pytest.approx(std * shrunk, rel=5 / values.size**0.5), name
    if cut is None:
        assert (np.abs(values) > 2 * std).mean() == pytest.approx(0.0455, abs=0.015), name
    else:
        assert np.abs(values).max() <= cut * std * (1 + 1e-6), name


@pytest.mark.parametrize(
    "kind, head, streams",
    [(CLIPRC, "CLIPRCHead", ("decoder_q", "decoder_v")), (ZegCLIP, "ZegCLIPHead", ("decoder_1",))],
)
def test_the_released_start_is_pytorchs_default(kind, head, streams):
    values = parameters(build(kind, head))
    linear = {
        name: value
        for name, value in values.items()
        if name.startswith("decode_head") and ".norm" not in name and "recovery" not in name
    }
    assert any("linear2" in name for name in linear) and any("q_proj" in name for name in linear)
    for name, value in linear.items():
        fan_in = linear[name.replace(".bias", ".weight")].shape[1]
        assert_uniform(value, fan_in**-0.5, name)
    for stream in streams:
        for layer in (1, 2):
            prefix = f"decode_head.{stream}.layers.{layer}."
            copies = [name for name in linear if name.startswith(prefix)]
            assert copies
            for name in copies:
                np.testing.assert_array_equal(linear[name], linear[name.replace(f".{layer}.", ".0.")], name)
    if len(streams) == 2:
        names = [f"decode_head.{stream}.layers.0.linear1.weight" for stream in streams]
        assert not np.array_equal(*(linear[name] for name in names))
    for name, value in values.items():
        if "norm" in name:
            assert (value == (1 if name.endswith("weight") else 0)).all(), name


def test_the_released_start_of_recovery_decoder_and_prompts():
    values = parameters(build(recovery=dict(num_layers=2)))
    recovery = {
        name: value for name, value in values.items() if "recovery_decoder" in name and "norm" not in name
    }
    assert {"decode_head.recovery_decoder.decouple_v.1.linear2.weight"} < set(recovery)
    for name, value in recovery.items():
        if name.endswith("bias"):
            assert not value.any(), name
        else:
            assert_normal(value, 0.02, name)
    first, second = (f"decode_head.recovery_decoder.decouple_q.{i}.linear1.weight" for i in (0, 1))
    assert not np.array_equal(recovery[first], recovery[second])
    assert_normal(values["backbone.prompt_proj.weight"], (2 / WIDTH) ** 0.5, "prompt_proj")
    assert_uniform(values["backbone.prompt_proj.bias"], WIDTH**-0.5, "prompt_proj.bias")
    bound = (6 / (3 * 8**2 + WIDTH)) ** 0.5
    assert_uniform(values["backbone.prompt_embeddings"], bound, "prompt_embeddings")


def test_the_designed_start():
    values = parameters(build(init="designed", recovery=dict(num_layers=2), backbone=dict(init="designed")))
    zero = [
        name
        for name in values
        if name.endswith("linear2.weight") and ("decoder_v" in name or "couple_v" in name)
    ]
    assert len(zero) == 5
    for name, value in values.items():
        if not name.startswith("decode_head") or "norm" in name:
            continue
        if name.endswith("bias") or name in zero:
            assert not value.any(), name
        else:
            assert_normal(value, 0.02, name, cut=2)
    layers = [f"decode_head.decoder_q.layers.{i}.linear1.weight" for i in (0, 1)]
    assert not np.array_equal(*(values[name] for name in layers))
    assert_normal(values["backbone.prompt_proj.weight"], (2 / WIDTH) ** 0.5, "prompt_proj", cut=2)
    assert not values["backbone.prompt_proj.bias"].any()


def count_dropouts(monkeypatch, **options):
    """Seeds that one training step draws, one for each dropout; nothing is computed."""
    model = build(layers=5, **options)
    draw, drawn = np.random.randint, []
    monkeypatch.setattr(np.random, "randint", lambda *args: drawn.append(args) or draw(*args))
    model.loss(jt.zeros((1, 3, 32, 32)), jt.zeros((1, 32, 32)).int32())
    monkeypatch.undo()
    return len(drawn)


def test_the_dropouts_of_a_training_step_are_those_of_the_release(monkeypatch):
    """Five sets of prompts; in each of eight decoder layers attention probabilities, attention, hidden units
    and feed-forward part."""
    assert count_dropouts(monkeypatch) == 5 + 8 * 4
    assert count_dropouts(monkeypatch, feed_forward_dropout=0.0) == 5 + 8 * 3
    assert count_dropouts(monkeypatch, dropout=0.0, backbone=dict(dropout=0.0)) == 0
    assert count_dropouts(monkeypatch, kind=ZegCLIP, head="ZegCLIPHead") == 5 + 2 * 4


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(init="random"), r"init.*'random'.*released, designed"),
        (dict(feed_forward_dropout=1.0), r"feed_forward_dropout.*\b1\.0\b"),
        (dict(backbone=dict(init="zeros")), r"init.*'zeros'"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)
