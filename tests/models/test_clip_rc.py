"""The segmentor: options, shapes, trained parameters, loading, and algebra against NumPy."""

import numpy as np
import pytest
from small_clip_rc import CLASSES, JOINT, UNSEEN, batch, embeddings, numbers, segmentor

from jseg.checkpoints import EncoderSizes
from jseg.interpolation import interpolation_matrix
from jseg.models.heads.region_alignment import (
    descriptors,
    project_pixels,
    project_queries,
    project_text,
    region_relations,
)
from jseg.models.segmentors import CLIPRC
from jseg.ops.randomness import set_first_sample
from jseg.runtime.backend import jt

TERMS = {"loss_mask", "loss_dice", "acc_seg", "total"}
RECOVERY_TERMS = {"recovery_loss_q", "recovery_loss_k"}


ABLATIONS = {
    "table 5, none": (dict(ram_inputs=(), recovery=None, num_regions=0), JOINT, False),
    "table 5, RLB": (dict(ram_inputs=(), recovery=None), JOINT, False),
    "table 5, RLB + RAM": (dict(recovery=None), 3 * JOINT, False),
    "table 6, update": (dict(train_regions=True), 3 * JOINT, True),
    "table 6, M = 1": (dict(num_regions=1), 3 * JOINT, True),
    "table 7, none": (dict(ram_inputs=()), JOINT, True),
    "table 7, CLS": (dict(ram_inputs=("global",)), 2 * JOINT, True),
    "table 7, RLB": (dict(ram_inputs=("region",)), 2 * JOINT, True),
    "table 8, l2": (dict(recovery=dict(loss="l2")), 3 * JOINT, True),
    "table 8, kd": (dict(recovery=dict(loss="kd")), 3 * JOINT, True),
    "table 8, 0 layers": (dict(recovery=dict(num_layers=0)), 3 * JOINT, True),
    "table 8, 3 layers": (dict(recovery=dict(num_layers=3)), 3 * JOINT, True),
}


@pytest.mark.parametrize("options, lateral_width, recovers", ABLATIONS.values(), ids=ABLATIONS)
def test_every_ablation_trains_and_predicts(options, lateral_width, recovers):
    model = segmentor(**options)
    image, label = batch()
    terms = model.loss(image, label)
    values = numbers(terms)
    assert set(values) == TERMS | (RECOVERY_TERMS if recovers else set())
    assert np.isfinite(list(values.values())).all()
    summands = [value for name, value in values.items() if name not in ("acc_seg", "total")]
    assert values["total"] == pytest.approx(sum(summands), rel=1e-5)
    assert tuple(model.decode_head.lateral_proj.weight.shape) == (JOINT, lateral_width)
    parameters = model.trainable_parameters()
    assert ("backbone.region_level_bridge" in parameters) == bool(options.get("train_regions"))
    gradients = dict(zip(parameters, jt.grad(terms["total"], list(parameters.values()))))
    # The second feed-forward matrices of pixel streams start at 0, so the first ones wait for one step.
    waiting = ("linear1", ".k.bias")
    silent = [
        name
        for name, g in gradients.items()
        if not np.abs(g.numpy()).max() > 0 and not any(part in name for part in waiting)
    ]
    assert not silent, f"no gradient: {silent}"
    assert tuple(model.predict(image).shape) == (2, CLASSES, 32, 32)


def test_parameter_names_of_the_full_model():
    names = set(segmentor().trainable_parameters())
    assert {
        "backbone.prompt_embeddings",
        "backbone.deep_prompt_embeddings",
        "backbone.prompt_proj.weight",
        "backbone.prompt_norm.bias",
        "decode_head.decoder_q.layers.1.multihead_attn.proj.weight",
        "decode_head.decoder_v.layers.0.norm3.bias",
        "decode_head.recovery_decoder.decouple_q.0.linear2.weight",
        "decode_head.recovery_decoder.linear_q_out.weight",
        "decode_head.lateral_proj.weight",
        "decode_head.q_proj.bias",
    } <= names
    assert not any("resblocks" in name or "ln_" in name or "class_embedding" in name for name in names)


def test_frozen_weights_take_no_gradient():
    model = segmentor()
    trained = set(model.trainable_parameters())
    for name, parameter in model.state_dict().items():
        assert parameter.is_stop_grad() == (name not in trained), name


@pytest.mark.parametrize("num_regions", [0, 4])
def test_alignment_without_concatenation_equals_equations_4_to_6(num_regions):
    """M = 0 is ZegCLIP's relationship descriptor: queries concat[T ⊙ G, T]."""
    random = np.random.default_rng(5)
    text, image, glob = (random.normal(size=s).astype(np.float32) for s in ((3, 4), (2, 12, 4), (2, 4)))
    regions = random.normal(size=(2, num_regions, 4)).astype(np.float32) if num_regions else None
    prior = glob[:, None] + (regions if num_regions else 0)
    stacked = np.concatenate(
        [text[None, None] * prior[:, :, None], np.broadcast_to(text, (2, max(num_regions, 1), 3, 4))], -1
    ).reshape(2, -1, 8)
    relation = region_relations(jt.array(text), jt.array(glob), jt.array(regions) if num_regions else None)
    assert np.allclose(descriptors(relation, jt.array(text)).numpy(), stacked, atol=1e-6)
    weight, bias = random.normal(size=(4, 8)).astype(np.float32), random.normal(size=4).astype(np.float32)
    of_text = project_text(jt.array(text), jt.array(weight), jt.array(bias))
    queries = project_queries(relation, of_text, jt.array(weight)).numpy()
    assert np.allclose(queries, stacked @ weight.T + bias, atol=1e-5)
    if not num_regions:
        return
    rows, columns = interpolation_matrix(2, 3), interpolation_matrix(2, 4)
    up = np.einsum("yi,xj,bijd->byxd", rows, columns, regions.reshape(2, 2, 2, 4)).reshape(2, 12, 4)
    fused = np.concatenate([up, np.broadcast_to(glob[:, None], (2, 12, 4)), image], -1)
    weight = random.normal(size=(4, 12)).astype(np.float32)
    pixels = project_pixels(
        jt.array(image),
        jt.array(glob),
        jt.array(regions),
        (3, 4),
        (2, 2),
        ("global", "region"),
        jt.array(weight),
        jt.array(bias),
    ).numpy()
    assert np.allclose(pixels, fused @ weight.T + bias, atol=1e-5)


@pytest.mark.parametrize("height, width", [(24, 40), (8, 8), (40, 32)])
def test_any_size_divisible_by_the_patch(height, width):
    model = segmentor()
    image, label = batch(height, width)
    assert np.isfinite(numbers(model.loss(image, label))["total"])
    assert tuple(model.predict(image).shape) == (2, CLASSES, height, width)


def test_sizes_that_the_patch_does_not_divide_are_filled_up():
    """By the mean colour and by ignored pixels, as small images are in training; scores are cut off again."""
    model = segmentor()
    image, label = batch(27, 30)
    filled = np.pad(image.numpy(), ((0, 0), (0, 0), (0, 5), (0, 2)))
    whole = np.pad(label.numpy(), ((0, 0), (0, 5), (0, 2)), constant_values=255)
    scores = model.predict(image).numpy()
    assert scores.shape == (2, CLASSES, 27, 30)
    wanted = model.predict(jt.array(filled)).numpy()[:, :, :27, :30]
    np.testing.assert_allclose(scores, wanted, rtol=1e-6, atol=1e-7)
    losses = numbers(model.loss(jt.array(filled), jt.array(whole)))
    assert numbers(model.loss(image, label)) == pytest.approx(losses, rel=1e-5)
    np.testing.assert_array_equal(
        model.divisors(image, label).numpy(), model.divisors(jt.array(filled), jt.array(whole)).numpy()
    )


def test_heads_of_80_channels_with_exact_gelu_and_patches_of_14():
    """The form of ViT-H/14: a crop of 32 px has 3 x 3 patches, which cover 42 px."""
    sizes = EncoderSizes(layers=2, width=160, patch_size=14, joint_width=JOINT)
    head = dict(type="CLIPRCHead", num_heads=2, num_layers=1)
    model = CLIPRC.from_sizes(sizes, 2, embeddings(), UNSEEN, None, head, image_size=32, activation="gelu")
    assert model.architecture().image_size == (42, 42) and model.backbone.positional_embedding.shape[0] == 10
    image, label = batch()
    assert np.isfinite(list(numbers(model.loss(image, label)).values())).all()
    assert tuple(model.predict(image).shape) == (2, CLASSES, 32, 32)


def test_numbers_of_regions_that_do_not_fit_are_refused():
    model = segmentor()
    model.backbone.num_regions = 5
    with pytest.raises(ValueError, match=r"num_regions.*\b5\b"):
        model.predict(jt.zeros((1, 3, 32, 32)))


def test_number_of_regions_may_change_unless_they_are_trained():
    model = segmentor()
    image, _ = batch()
    for count in (1, 9, 16, 64):
        model.backbone.num_regions = count
        assert np.isfinite(model.predict(image).numpy()).all()
    model = segmentor(train_regions=True)
    model.backbone.num_regions = 9
    with pytest.raises(ValueError, match=r"num_regions.*\b9\b.*\b4\b"):
        model.predict(image)


def test_image_of_ignored_pixels_only():
    model = segmentor(setting="transductive")
    image, label = batch()
    terms = model.loss(image, jt.full_like(label, 255))
    gradient = jt.grad(terms["total"], model.decode_head.q_proj.weight).numpy()
    values = numbers(terms)
    assert np.isfinite(gradient).all() and values["loss_dice"] == 0 and values["acc_seg"] == 100


def test_inductive_training_does_not_see_unseen_text():
    image, label = batch()
    model, text = segmentor(), embeddings()
    text[list(UNSEEN)] = text[0]
    other = segmentor(text=text)
    assert numbers(model.loss(image, label)) == numbers(other.loss(image, label))


def test_seen_bias():
    """The bias is subtracted from probabilities of seen classes, except in the transductive setting."""
    image, _ = batch()
    plain = segmentor(seen_bias=0.0)
    expected = np.full(CLASSES, 0.3)
    expected[list(UNSEEN)] = 0
    for setting, factor in (("inductive", 1), ("full", 1), ("transductive", 0)):
        lowered = segmentor(setting=setting, seen_bias=0.3)
        drop = (plain.predict(image) - lowered.predict(image)).numpy().mean((0, 2, 3))
        assert np.allclose(drop, factor * expected, atol=1e-5)


def test_dropout_acts_in_training_only():
    model = segmentor(dropout=0.5)
    image, label = batch()
    first, second = (numbers(model.loss(image, label))["total"] for _ in range(2))
    assert first != second
    assert np.array_equal(model.predict(image).numpy(), model.predict(image).numpy())
    model.eval()
    first, second = (numbers(model.loss(image, label))["total"] for _ in range(2))
    assert first == second


@pytest.mark.parametrize("setting", ["inductive", "transductive"])
def test_parts_of_a_batch_average_to_the_whole(setting):
    """With the dropout of the whole batch, also if pseudo labels come from predictions with dropout."""
    model = segmentor(setting=setting, dropout=0.3)
    image, label = batch()
    label[0, 8:] = 255  # the images differ in their counts

    def begin(position):
        np.random.seed(1)
        set_first_sample(position)

    try:
        begin(0)
        whole = numbers(model.loss(image, label))
        counts = []
        for position in (0, 1):
            begin(position)
            counts.append(
                model.divisors(image[position : position + 1], label[position : position + 1]).numpy()
            )
        mean, parts = jt.array(np.mean(counts, axis=0).astype(np.float32)), []
        for position in (0, 1):
            begin(position)
            parts.append(
                numbers(
                    model.loss(
                        image[position : position + 1],
                        label[position : position + 1],
                        mean,
                    )
                )
            )
    finally:
        set_first_sample(0)
    assert counts[0][1] != counts[1][1]
    for name, value in whole.items():
        assert (parts[0][name] + parts[1][name]) / 2 == pytest.approx(value, rel=2e-5), name


def test_region_probabilities():
    model = segmentor()
    image, _ = batch()
    tuned, original = (
        model.region_probabilities(image).numpy(),
        model.region_probabilities(image, True).numpy(),
    )
    assert tuned.shape == original.shape == (2, CLASSES, 2, 2)
    assert np.allclose(tuned.sum(1), 1, atol=1e-5) and not np.array_equal(tuned, original)
    model.backbone.prompt_proj.bias.assign(model.backbone.prompt_proj.bias + 1)
    assert np.array_equal(model.region_probabilities(image, True).numpy(), original), (
        "original CLIP has no prompts"
    )
    assert segmentor(ram_inputs=(), num_regions=0).region_probabilities(image) is None
