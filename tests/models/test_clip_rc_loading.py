"""Loading and building the segmentor: checkpoints, CLIP weights, refused options, its description."""

from dataclasses import replace

import numpy as np
import pytest
from small_clip_rc import JOINT, PATCH, UNSEEN, batch, embeddings, segmentor

from jseg.checkpoints import CLIPRCArchitecture, EncoderSizes
from jseg.checkpoints.version_0_1 import MOVED
from jseg.models.segmentors import CLIPRC, MODELS


def test_loading_is_strict():
    model = segmentor()
    arrays = model.state_arrays()
    arrays["decode_head.decoder_q.layers.0.self_attn.in_proj_weight"] = np.zeros(1)
    other = segmentor()
    for parameter in other.state_dict().values():
        parameter.assign(parameter + 1)
    assert other.load_arrays(arrays) == ["decode_head.decoder_q.layers.0.self_attn.in_proj_weight"]
    image, _ = batch()
    assert np.array_equal(model.predict(image).numpy(), other.predict(image).numpy())
    trained = set(other.trainable_parameters())
    assert all(value.is_stop_grad() == (name not in trained) for name, value in other.state_dict().items())
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
    model = segmentor()
    arrays = model.state_arrays()
    arrays["backbone.positional_embedding"] = (
        np.random.default_rng(6).normal(size=(1 + 25, 32)).astype(np.float32)
    )
    model.load_arrays(arrays)
    assert model.backbone.position_grid == (5, 5)
    assert np.isfinite(model.predict(batch()[0]).numpy()).all()
    arrays["backbone.positional_embedding"] = np.zeros((1 + 15, 32), np.float32)
    with pytest.raises(ValueError, match=r"\b15\b"):
        segmentor().load_arrays(arrays)


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
    image, _ = batch(64, 32, batch=1)
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
    model = CLIPRC.from_sizes(
        sizes, 2, embeddings(), UNSEEN, backbone=backbone, decode_head=head, image_size=32
    )
    said = CLIPRCArchitecture.from_config({**parts, "image_size": 32}, sizes)
    assert replace(model.architecture(), heads=None) == said
    assert sorted(said.parameter_names()) == sorted(model.state_arrays())
    shapes = {name: value.shape for name, value in model.state_arrays().items()}
    read = CLIPRCArchitecture.from_shapes(shapes, "file", model.num_regions, model.trains_regions)
    assert model.architecture().differences(read.metadata()) == []
