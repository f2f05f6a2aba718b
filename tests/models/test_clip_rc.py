"""The segmentor: options, shapes, trained parameters, loading, and algebra against NumPy."""

from dataclasses import replace
from types import MappingProxyType

import numpy as np
import pytest

from jseg.checkpoints import CLIPRCArchitecture, EncoderSizes
from jseg.checkpoints.version_0_1 import MOVED
from jseg.interpolation import interpolation_matrix
from jseg.models.heads.region_alignment import descriptors, project_pixels, project_queries, region_relations
from jseg.models.segmentors import CLIPRC, MODELS
from jseg.ops.randomness import set_first_sample
from jseg.runtime.backend import jt

CLASSES, JOINT, PATCH = 5, 16, 8
UNSEEN = (1, 4)
TERMS = {"loss_mask", "loss_dice", "acc_seg", "total"}
RECOVERY_TERMS = {"recovery_loss_q", "recovery_loss_k"}


def _text():
    text = np.random.default_rng(3).normal(size=(CLASSES, JOINT))
    return text / np.linalg.norm(text, axis=1, keepdims=True)


def _segmentor(
    ram_inputs=("region", "global"),
    recovery=MappingProxyType({}),
    train_regions=False,
    num_regions=4,
    dropout=0.0,
    text=None,
    **options,
):
    np.random.seed(0)
    return CLIPRC.from_sizes(
        EncoderSizes(layers=2, width=32, patch_size=PATCH, joint_width=JOINT),
        2,
        _text() if text is None else text,
        UNSEEN,
        backbone=dict(
            type="RegionBridgeEncoder",
            num_prompts=3,
            num_regions=num_regions,
            train_regions=train_regions,
            dropout=dropout,
        ),
        decode_head=dict(
            type="CLIPRCHead",
            num_heads=2,
            num_layers=2,
            ram_inputs=ram_inputs,
            recovery=recovery,
            dropout=dropout,
        ),
        image_size=32,
        **options,
    )


def _batch(height=32, width=32, batch=2):
    random = np.random.default_rng(4)
    image = random.normal(size=(batch, 3, height, width)).astype(np.float32)
    label = random.integers(0, CLASSES, (batch, height, width)).astype(np.uint8)
    label[:, :4] = 255
    return jt.array(image), jt.array(label.astype(np.int32))


def _values(terms):
    return {name: term.item() for name, term in terms.items()}


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
    model = _segmentor(**options)
    image, label = _batch()
    terms = model.loss(image, label)
    values = _values(terms)
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
    names = set(_segmentor().trainable_parameters())
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
    model = _segmentor()
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
    queries = project_queries(relation, jt.array(text), jt.array(weight), jt.array(bias)).numpy()
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
    model = _segmentor()
    image, label = _batch(height, width)
    assert np.isfinite(_values(model.loss(image, label))["total"])
    assert tuple(model.predict(image).shape) == (2, CLASSES, height, width)


def test_sizes_that_the_patch_does_not_divide_are_filled_up():
    """By the mean colour and by ignored pixels, as small images are in training; scores are cut off again."""
    model = _segmentor()
    image, label = _batch(27, 30)
    filled = np.pad(image.numpy(), ((0, 0), (0, 0), (0, 5), (0, 2)))
    whole = np.pad(label.numpy(), ((0, 0), (0, 5), (0, 2)), constant_values=255)
    scores = model.predict(image).numpy()
    assert scores.shape == (2, CLASSES, 27, 30)
    wanted = model.predict(jt.array(filled)).numpy()[:, :, :27, :30]
    np.testing.assert_allclose(scores, wanted, rtol=1e-6, atol=1e-7)
    losses = _values(model.loss(jt.array(filled), jt.array(whole)))
    assert _values(model.loss(image, label)) == pytest.approx(losses, rel=1e-5)
    np.testing.assert_array_equal(
        model.divisors(image, label).numpy(), model.divisors(jt.array(filled), jt.array(whole)).numpy()
    )


def test_heads_of_80_channels_with_exact_gelu_and_patches_of_14():
    """The form of ViT-H/14: a crop of 32 px has 3 x 3 patches, which cover 42 px."""
    sizes = EncoderSizes(layers=2, width=160, patch_size=14, joint_width=JOINT)
    head = dict(type="CLIPRCHead", num_heads=2, num_layers=1)
    model = CLIPRC.from_sizes(sizes, 2, _text(), UNSEEN, None, head, image_size=32, activation="gelu")
    assert model.architecture().image_size == (42, 42) and model.backbone.positional_embedding.shape[0] == 10
    image, label = _batch()
    assert np.isfinite(list(_values(model.loss(image, label)).values())).all()
    assert tuple(model.predict(image).shape) == (2, CLASSES, 32, 32)


def test_numbers_of_regions_that_do_not_fit_are_refused():
    model = _segmentor()
    model.backbone.num_regions = 5
    with pytest.raises(ValueError, match=r"num_regions.*\b5\b"):
        model.predict(jt.zeros((1, 3, 32, 32)))


def test_number_of_regions_may_change_unless_they_are_trained():
    model = _segmentor()
    image, _ = _batch()
    for count in (1, 9, 16, 64):
        model.backbone.num_regions = count
        assert np.isfinite(model.predict(image).numpy()).all()
    model = _segmentor(train_regions=True)
    model.backbone.num_regions = 9
    with pytest.raises(ValueError, match=r"num_regions.*\b9\b.*\b4\b"):
        model.predict(image)


def test_image_of_ignored_pixels_only():
    model = _segmentor(setting="transductive")
    image, label = _batch()
    terms = model.loss(image, jt.full_like(label, 255))
    gradient = jt.grad(terms["total"], model.decode_head.q_proj.weight).numpy()
    values = _values(terms)
    assert np.isfinite(gradient).all() and values["loss_dice"] == 0 and values["acc_seg"] == 100


def test_inductive_training_does_not_see_unseen_text():
    image, label = _batch()
    model, text = _segmentor(), _text()
    text[list(UNSEEN)] = text[0]
    other = _segmentor(text=text)
    assert _values(model.loss(image, label)) == _values(other.loss(image, label))


def test_seen_bias():
    """The bias is subtracted from probabilities of seen classes, except in the transductive setting."""
    image, _ = _batch()
    plain = _segmentor(seen_bias=0.0)
    expected = np.full(CLASSES, 0.3)
    expected[list(UNSEEN)] = 0
    for setting, factor in (("inductive", 1), ("full", 1), ("transductive", 0)):
        lowered = _segmentor(setting=setting, seen_bias=0.3)
        drop = (plain.predict(image) - lowered.predict(image)).numpy().mean((0, 2, 3))
        assert np.allclose(drop, factor * expected, atol=1e-5)


def test_dropout_acts_in_training_only():
    model = _segmentor(dropout=0.5)
    image, label = _batch()
    first, second = (_values(model.loss(image, label))["total"] for _ in range(2))
    assert first != second
    assert np.array_equal(model.predict(image).numpy(), model.predict(image).numpy())
    model.eval()
    first, second = (_values(model.loss(image, label))["total"] for _ in range(2))
    assert first == second


@pytest.mark.parametrize("setting", ["inductive", "transductive"])
def test_parts_of_a_batch_average_to_the_whole(setting):
    """With the dropout of the whole batch, also if pseudo labels come from predictions with dropout."""
    model = _segmentor(setting=setting, dropout=0.3)
    image, label = _batch()
    label[0, 8:] = 255  # the images differ in their counts

    def begin(position):
        np.random.seed(1)
        set_first_sample(position)

    try:
        begin(0)
        whole = _values(model.loss(image, label))
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
                _values(
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
    model = _segmentor()
    image, _ = _batch()
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
    assert _segmentor(ram_inputs=(), num_regions=0).region_probabilities(image) is None


def test_loading_is_strict():
    model = _segmentor()
    arrays = model.state_arrays()
    arrays["decode_head.decoder_q.layers.0.self_attn.in_proj_weight"] = np.zeros(1)
    other = _segmentor()
    for parameter in other.state_dict().values():
        parameter.assign(parameter + 1)
    assert other.load_arrays(arrays) == ["decode_head.decoder_q.layers.0.self_attn.in_proj_weight"]
    image, _ = _batch()
    assert np.array_equal(model.predict(image).numpy(), other.predict(image).numpy())
    test_frozen_weights_take_no_gradient()
    with pytest.raises(ValueError, match=r"decode_head\.q_proj\.bias"):
        model.load_arrays(
            {name: value for name, value in arrays.items() if name != "decode_head.q_proj.bias"}
        )
    with pytest.raises(ValueError, match=r"\ba\.b\b"):
        model.load_arrays({**arrays, "a.b": np.zeros(1)})
    with pytest.raises(ValueError, match=r"decode_head\.q_proj\.weight.*\(2, 2\)"):
        model.load_arrays({**arrays, "decode_head.q_proj.weight": np.zeros((2, 2))})


def test_position_table_of_another_checkpoint_grid():
    """The table keeps its own grid and is resized to the image at run time."""
    model = _segmentor()
    arrays = model.state_arrays()
    arrays["backbone.positional_embedding"] = (
        np.random.default_rng(6).normal(size=(1 + 25, 32)).astype(np.float32)
    )
    model.load_arrays(arrays)
    assert model.backbone.position_grid == (5, 5)
    assert np.isfinite(model.predict(_batch()[0]).numpy()).all()
    arrays["backbone.positional_embedding"] = np.zeros((1 + 15, 32), np.float32)
    with pytest.raises(ValueError, match=r"\b15\b"):
        _segmentor().load_arrays(arrays)


@pytest.fixture(scope="module")
def clip_file(openai_archive):
    return str(openai_archive)


def test_factory_builds_on_clip_weights(clip_file, tmp_path, monkeypatch):
    monkeypatch.setenv("JSEG_CACHE", str(tmp_path))
    options = dict(
        class_names=["aeroplane", "potted plant", "tv monitor"],
        unseen=[2],
        clip=clip_file,
        image_size=(64, 32),
    )
    backbone = dict(type="RegionBridgeEncoder", num_regions=4, num_prompts=2)
    head = dict(type="CLIPRCHead", num_heads=4)
    model = MODELS.build(dict(type="CLIPRC", backbone=backbone, decode_head=head, **options))
    assert model.backbone.position_grid == (8, 4) and model.decode_head.lateral_proj.weight.shape[1] == 3 * 32
    image, _ = _batch(64, 32, batch=1)
    assert tuple(model.predict(image).shape) == (1, 3, 64, 32)
    trained = CLIPRC(**options, backbone={**backbone, "train_regions": True}, decode_head=head)
    start = trained.backbone.region_level_bridge.numpy()
    untrained = trained.backbone.class_embedding.numpy() + trained.backbone.positional_embedding.numpy()[0]
    assert np.allclose(start, np.tile(untrained, (4, 1)), atol=1e-7)
    first, second = (m.region_probabilities(image, original_clip=True).numpy() for m in (trained, model))
    assert np.allclose(first, second, atol=1e-6)
    assert np.allclose(trained.region_probabilities(image).numpy().sum(1), 1, atol=1e-5)
    baseline = CLIPRC(
        **options,
        backbone={**backbone, "num_regions": 0},
        decode_head={**head, "ram_inputs": (), "recovery": None},
    )
    assert baseline.num_regions == 0
    computed = baseline._text.numpy()
    np.save(tmp_path / "text.npy", computed.astype(np.float16))
    read = CLIPRC(**options, backbone=backbone, decode_head=head, text_embeddings=str(tmp_path / "text.npy"))
    assert np.abs(read._text.numpy() - computed).max() < 1e-3


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(backbone=dict(num_regions=0)), "num_regions.*ram_inputs"),
        (dict(backbone=dict(num_regions=0, train_regions=True)), "train_regions"),
        (dict(backbone=dict(num_regions=6)), r"num_regions.*\b6\b"),
        (dict(backbone=dict(num_prompts=0)), r"num_prompts.*\b0\b"),
        (dict(backbone=dict(dropout=1.0)), r"dropout.*\b1\.0\b"),
        (dict(backbone=dict(type="Encoder")), r"model\.backbone\.type.*'Encoder'"),
        (dict(decode_head=dict(num_heads=5)), r"num_heads.*\b5\b"),
        (dict(decode_head=dict(num_layers=0)), r"num_layers.*\b0\b"),
        (dict(decode_head=dict(ram_inputs=("text",))), "ram_inputs"),
        (dict(decode_head=dict(dropout=-0.1)), r"dropout.*-0\.1\b"),
        (dict(decode_head=dict(recovery=dict(num_layers=-1))), r"recovery\.num_layers.*-1"),
        (dict(decode_head=dict(recovery=dict(loss="l3"))), r"recovery\.loss.*'l3'"),
        (dict(decode_head=dict(recovery=dict(weight=-2.0))), r"recovery\.weight.*-2"),
        (
            dict(decode_head=dict(recovery=dict(wieght=1.0))),
            r"model\.decode_head\.recovery\.wieght.*\bweight",
        ),
        (dict(loss=dict(focal_weight=-1.0)), r"focal_weight.*-1"),
        (dict(clip="nowhere.pt"), "nowhere.pt"),
        (dict(image_size=7), r"image_size.*\b7\b"),
        (dict(setting="zero"), "setting.*'zero'"),
        (dict(pseudo_labels="sigmoid"), "pseudo_labels.*'sigmoid'.*probabilities, logits"),
        (dict(unseen=[7]), "unseen"),
        (dict(templates="poem"), "poem"),
        (dict(setting="transductive", unseen=[]), "(?=.*transductive).*unseen"),
    ],
)
def test_bad_options_are_named(clip_file, tmp_path, monkeypatch, options, message):
    monkeypatch.setenv("JSEG_CACHE", str(tmp_path))
    good = dict(class_names=["cat", "dog"], unseen=[1], clip=clip_file, image_size=48)
    types = dict(backbone="RegionBridgeEncoder", decode_head="CLIPRCHead", loss="NELLoss")
    parts = {part: {"type": name, **options.get(part, {})} for part, name in types.items()}
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        CLIPRC(**{**good, **options, **parts})


def test_flat_options_of_0_1_are_told_their_new_place():
    flat = dict(type="CLIPRC", clip="a", num_regions=4, decoder_layers=3, dropout=0.1)
    with pytest.raises(ValueError) as error:
        MODELS.check(flat, "model")
    for old, new in (
        ("model.num_regions", "model.backbone.num_regions"),
        ("model.decoder_layers", "model.decode_head.num_layers"),
        ("model.dropout", "model.backbone.dropout"),
    ):
        assert f"{old} is now {new}" in str(error.value)
    assert set(MOVED).isdisjoint(MODELS.parameters("CLIPRC"))


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"backbone": dict(num_prompts=2, num_regions=4, train_regions=True)},
        {"backbone": dict(num_regions=0), "decode_head": dict(ram_inputs=(), recovery=None)},
        {"decode_head": dict(ram_inputs=("global",), num_layers=2, recovery=dict(num_layers=0))},
    ],
)
def test_the_description_of_a_config_is_that_of_the_model_built_from_it(parts):
    """Therefore, the defaults of both are the same."""
    sizes = EncoderSizes(layers=2, width=32, patch_size=PATCH, joint_width=JOINT)
    backbone = {"type": "RegionBridgeEncoder", **parts.get("backbone", {})}
    head = {"type": "CLIPRCHead", **parts.get("decode_head", {})}
    model = CLIPRC.from_sizes(sizes, 2, _text(), UNSEEN, backbone=backbone, decode_head=head, image_size=32)
    said = CLIPRCArchitecture.from_config({**parts, "image_size": 32}, sizes)
    assert replace(model.architecture(), heads=None) == said
    assert sorted(said.parameter_names()) == sorted(model.state_arrays())
    shapes = {name: value.shape for name, value in model.state_arrays().items()}
    read = CLIPRCArchitecture.from_shapes(shapes, "file", model.num_regions, model.trains_regions)
    assert model.architecture().differences(read.metadata()) == []
