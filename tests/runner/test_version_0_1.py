"""Checkpoints of jseg 0.1, which described a model by one flat dict, in every use."""

import json
from pathlib import Path

import numpy as np
import pytest

from jseg import Segmenter
from jseg.checkpoints import CLIPRCArchitecture, load_arrays
from jseg.checkpoints.run_metadata import saved_architecture, saved_config
from jseg.checkpoints.version_0_1 import model_from_0_1
from jseg.cli import convert_checkpoint
from jseg.config import Config
from jseg.runner import Runner
from jseg.runtime.backend import jt

FOLDER = Path(__file__).resolve().parent / "version_0_1"
EXPECTED = json.loads((FOLDER / "expected.json").read_text())
CONFIG = Path(__file__).resolve().parents[2] / "configs" / "clip_rc" / "zeroshapes_inductive.py"
MODELS = {
    "inductive": dict(backbone=dict(num_prompts=2), decode_head=dict(num_layers=1, num_heads=4)),
    "trained_regions": dict(
        backbone=dict(num_prompts=1, train_regions=True),
        decode_head=dict(num_layers=1, num_heads=4, ram_inputs=("region",), recovery=None),
    ),
}


@pytest.fixture
def make_runner(zeroshapes_root, openai_archive, tmp_path, monkeypatch):
    """make_runner(name, *overrides) -> a runner with the config that this checkpoint needs today."""
    monkeypatch.setenv("JSEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    Path("openai.pt").symlink_to(openai_archive)
    options = [
        f"data_root={zeroshapes_root}",
        "model.clip=openai.pt",
        "max_iters=4",
        "batch_size=2",
        "log_interval=1",
        "eval_interval=None",
        "checkpoint_interval=2",
        "visualize.num_images=0",
        f"work_dir={tmp_path / 'run'}",
    ]

    def build(name: str, *overrides: str) -> Runner:
        parts = [
            f"model.{part}.{key}={value!r}"
            for part, values in MODELS[name].items()
            for key, value in values.items()
        ]
        return Runner(Config.load(CONFIG, [*options, *parts, *overrides]))

    return build


@pytest.mark.parametrize("name", MODELS)
def test_val_and_test_predict_what_they_did(make_runner, name, tmp_path):
    runner, path = make_runner(name), str(FOLDER / f"{name}.safetensors")
    model, _ = runner.experiment.trained_model(path)
    model.eval()
    image = runner.experiment.dataset("val").sample(0)["image"]
    scores = model.predict(jt.array(image[None])).numpy()[0, :, ::16, ::16].reshape(-1)
    assert np.abs(scores - EXPECTED[name]["scores"]).max() < 2e-5
    runner.val(path)
    names = {file.stem for file in runner.test(path).glob("*.png")}
    data = runner.experiment.dataset("test")
    assert names >= {data.name(index) for index in range(len(data))}


@pytest.mark.parametrize("name", MODELS)
def test_resume_goes_on_as_the_run_did(make_runner, name, tmp_path):
    make_runner(name).train(resume=str(FOLDER / f"{name}.safetensors"))
    records = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [record["iter"] for record in records] == [3, 4]
    for record in records:
        assert record["total"] == pytest.approx(EXPECTED[name]["total"][str(record["iter"])], rel=1e-4)
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "have changed" not in log and "warning" not in log
    _, metadata = load_arrays(tmp_path / "run" / "checkpoints" / "iter_4.safetensors")
    assert metadata["format"] == "jseg run 2"


def test_a_transductive_run_starts_from_it(make_runner):
    start = f"init_from={FOLDER / 'inductive.safetensors'}"
    make_runner("inductive", "model.setting=transductive", start, "max_iters=1").train()


def test_another_model_is_refused_by_todays_keys(make_runner):
    path = str(FOLDER / "inductive.safetensors")
    with pytest.raises(ValueError, match=r"model\.decode_head\.num_layers=1 \(here 2\)"):
        make_runner("inductive", "model.decode_head.num_layers=2").val(path)
    start = (f"init_from={path}", "model.setting=transductive")
    with pytest.raises(ValueError, match=r"model\.backbone\.num_regions=4 \(here 16\)"):
        make_runner("inductive", "model.backbone.num_regions=16", *start).train()


def test_what_the_metadata_says_in_todays_form():
    _, metadata = load_arrays(FOLDER / "trained_regions.safetensors")
    wanted = CLIPRCArchitecture.from_config({**MODELS["trained_regions"], "image_size": 64})
    found = saved_architecture(metadata)
    assert found["num_regions"] == 4
    assert {**found, "num_regions": 16} == wanted.metadata()
    model = saved_config(metadata)["model"]
    assert model["decode_head"] == dict(
        type="CLIPRCHead",
        ram_inputs=("region",),
        num_layers=1,
        num_heads=4,
        recovery=None,
        dropout=0.1,
        feed_forward_dropout=0.0,
        init="designed",
    )
    assert (model["normalize_text"], model["pseudo_labels"]) == (None, "probabilities")
    assert model_from_0_1(model) == model


def test_a_model_without_region_bridge():
    flat = dict(type="CLIPRC", clip="a", num_regions=16, region_bridge=False, ram_inputs=())
    backbone = dict(type="RegionBridgeEncoder", num_regions=0, init="designed")
    assert model_from_0_1(flat)["backbone"] == backbone


def test_its_text_and_pseudo_labels_stay_as_they_were():
    flat = dict(type="CLIPRC", num_regions=16, setting="transductive", text_embeddings="a.npy")
    model = model_from_0_1(flat)
    assert (model["normalize_text"], model["pseudo_labels"]) == (True, "logits")


def test_its_trained_part_alone_can_be_handed_on(make_runner, tmp_path, capsys):
    """The Segmenter loads it, --resume refuses it, and it can be completed."""
    out = str(tmp_path / "trained.safetensors")
    assert convert_checkpoint.main([str(FOLDER / "inductive.safetensors"), out, "--to", "trained"]) == 0
    assert Path(out).stat().st_size < 0.4 * (FOLDER / "inductive.safetensors").stat().st_size
    runner = make_runner("inductive")
    assert Segmenter.from_checkpoint(out, "openai.pt").class_names[0] == "red circle"
    with pytest.raises(ValueError, match=r"optimizer\."):
        runner.train(resume=out)
    whole = str(tmp_path / "whole.safetensors")
    assert convert_checkpoint.main([out, whole, "--clip", "openai.pt"]) == 0
    assert convert_checkpoint.main([whole, str(tmp_path / "c.safetensors"), "--to", "trained"]) == 2
    assert "--to jseg" in capsys.readouterr().err
