"""Released CLIP-RC files in model and runner: recorded outputs, and errors for wrong configs."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from checkpoint_writers import (
    jittor_bytes,
    safetensors_bytes,
    tensor,
    torch_archive_bytes,
    torch_legacy_bytes,
)

from jseg import parity
from jseg.checkpoints import (
    CLIPRCArchitecture,
    EncoderSizes,
    clip_from_any,
    clip_rc_from_release,
    load_model_state,
    read_tensors,
    save_arrays,
)
from jseg.checkpoints.clip_rc_architecture import REGION_TOKENS
from jseg.config import Config
from jseg.runner import Experiment
from jseg.runner.checkpoint import load_weights
from jseg.runtime.backend import jt

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"
CASE = json.loads((GOLDEN / "tiny" / "case.json").read_text())


def load(name):
    with np.load(GOLDEN / "tiny" / f"{name}.npz") as file:
        return dict(file)


@pytest.fixture(scope="module")
def weights():
    return load("weights")


@pytest.fixture(scope="module")
def files(weights, tmp_path_factory):
    """The same weights in every supported format."""
    folder = tmp_path_factory.mktemp("files")
    root = {
        "meta": {"iter": 40000, "CLASSES": ["c0"]},
        "state_dict": {k: tensor(v) for k, v in weights.items()},
    }
    contents = {
        "pytorch.pth": torch_archive_bytes(root),
        "old.pth": torch_legacy_bytes(root),
        "jseg.pkl": jittor_bytes({"meta": {"iter": 1}, "model": weights}),
        "names.safetensors": safetensors_bytes(weights, {"format": "pt"}),
        "module.pth": torch_archive_bytes({f"module.{k}": tensor(v) for k, v in weights.items()}),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    save_arrays(folder / "own.safetensors", clip_rc_from_release(weights)[0], {"kind": "CLIP-RC"})
    return folder


@pytest.mark.parametrize(
    "name", ["pytorch.pth", "old.pth", "jseg.pkl", "names.safetensors", "module.pth", "own.safetensors"]
)
def test_recorded_features_and_probabilities(files, weights, name):
    """Parts with random values of their own: only what the file holds can give the recorded numbers.

    The model's position grid is 4x4, that of the file 8x8: it is taken over.
    """
    inputs, recorded = load("inputs"), load("outputs")
    small = {**inputs, "image": inputs["image"][:, :, :32, :32]}
    segmentor = parity.build_segmentor(CASE, weights, small, recorded, "inductive")
    assert segmentor.backbone.position_grid == (4, 4)
    arrays, metadata = load_weights(segmentor, str(files / name))
    assert metadata == {} and len(arrays) == 190
    image = jt.array(inputs["image"].astype(np.float32))
    with jt.no_grad():
        features = segmentor.backbone(image)
        computed = {
            "eval.prob_seen_minus_0.1": segmentor.predict(image),
            "eval.image_features": features.image,
            "eval.global_feature": features.global_feature,
            "eval.region_features": features.regions,
        }
    for key, value in computed.items():
        wanted = recorded[key]
        value = value.numpy()
        if value.ndim == 3 and key != "eval.global_feature":  # (B, N, d) -> (B, d, h, w)
            value = value.transpose(0, 2, 1).reshape(wanted.shape)
        assert np.abs(value.reshape(wanted.shape) - wanted).max() <= 2e-5 * np.abs(wanted).max(), key


@pytest.mark.parametrize(
    "change, pattern",
    [
        ({"regions": 16}, r"model\.backbone\.num_regions=4\b.*\b16\b"),
        ({"trained": True}, r"model\.backbone\.train_regions=False\b.*\bTrue\b"),
    ],
)
def test_region_tokens_that_differ(files, weights, change, pattern):
    recorded = load("outputs")
    if "trained" in change:
        recorded["inductive.grad.backbone.region_level_bridge"] = np.zeros(1)
    case = {**CASE, "regions": change.get("regions", 4)}
    segmentor = parity.build_segmentor(case, weights, load("inputs"), recorded, "inductive")
    with pytest.raises(ValueError, match=rf"pytorch\.pth.*{pattern}"):
        load_weights(segmentor, str(files / "pytorch.pth"))
    if "regions" in change:  # converted, the file says nothing about M: any number may be asked for
        load_weights(segmentor, str(files / "own.safetensors"))


def test_every_difference_names_its_key(files):
    _, told = load_model_state(files / "jseg.pkl")
    assert told.encoder == EncoderSizes(layers=3, width=64, patch_size=8, joint_width=32)
    assert (told.num_prompts, told.decoder_layers, told.recovery_layers, told.num_regions) == (3, 3, 1, 4)
    assert told.fused_inputs == 2 and not told.train_regions and told.differences(told.metadata()) == []
    other = replace(
        told,
        num_prompts=10,
        decoder_layers=2,
        recovery_layers=None,
        train_regions=True,
        num_regions=16,
        fused_inputs=1,
        ram_inputs=("global",),
    )
    changes = {key: (wanted, now) for key, wanted, now in other.differences(told.metadata())}
    assert changes == {
        "model.backbone.num_prompts": (3, 10),
        "model.decode_head.num_layers": (3, 2),
        "model.decode_head.recovery": ({"num_layers": 1}, None),
        "model.backbone.train_regions": (False, True),
        "model.backbone.num_regions": (4, 16),
        "model.decode_head.ram_inputs": (["region", "global"], ["global"]),
    }
    one = replace(told, fused_inputs=1, ram_inputs=None)
    (change,) = told.differences(one.metadata())
    assert change.key == "model.decode_head.ram_inputs" and "('global',) or ('region',)" in change.wanted
    (change,) = replace(told, encoder=EncoderSizes(12, 768, 8, 32)).differences(told.metadata())
    assert change.key == "model.clip"
    assert [re.findall(r"\d+", text) for text in change[1:]] == [
        ["3", "64", "8", "32"],
        ["12", "768", "8", "32"],
    ]


def test_trained_region_tokens_are_counted(weights, tmp_path):
    path = tmp_path / "trained.safetensors"
    save_arrays(path, {**weights, REGION_TOKENS: weights[REGION_TOKENS] + np.float32(0.1)}, {})
    state, told = load_model_state(path)
    assert told.train_regions and told.num_regions == 4 and REGION_TOKENS in state


@pytest.mark.parametrize("name, shape", [("backbone.conv1.weight", (64, 192)), ("backbone.proj", (64, 0))])
def test_shapes_that_no_clip_rc_has(weights, name, shape):
    shapes = {**{key: value.shape for key, value in weights.items()}, name: shape}
    with pytest.raises(ValueError, match=f"odd.pth.*'{name}'"):
        CLIPRCArchitecture.from_shapes(shapes, "odd.pth")


@pytest.mark.parametrize("name", ["backbone.class_embedding", "backbone.positional_embedding", REGION_TOKENS])
def test_a_scalar_where_a_table_belongs(weights, tmp_path, name):
    save_arrays(tmp_path / "odd.pth", {**weights, name: np.float32(1)}, {})
    with pytest.raises(ValueError, match=f"odd.pth.*'{name}'"):
        load_model_state(tmp_path / "odd.pth")


@pytest.fixture(scope="module")
def run_folder(files, weights, openai_archive, tmp_path_factory, zeroshapes_root):
    """A folder with a CLIP that has the golden image tower, four images and a config."""
    folder = tmp_path_factory.mktemp("run")
    text, _ = clip_from_any(read_tensors(openai_archive))
    clip = {name: value for name, value in text.items() if not name.startswith("visual.")}
    clip.update(
        {
            f"visual.{name[len('backbone.') :]}": value.astype(np.float32)
            for name, value in weights.items()
            if name.startswith("backbone.") and "prompt" not in name and name != REGION_TOKENS
        }
    )
    save_arrays(folder / "clip.safetensors", clip, {})
    base = ROOT / "configs" / "_base_"
    (folder / "released.py").write_text(
        f"_base_ = [{str(base / 'datasets' / 'zeroshapes.py')!r}, {str(base / 'models' / 'clip_rc.py')!r}, "
        f"{str(base / 'schedule.py')!r}]\n"
        f"data_root = {str(zeroshapes_root)!r}\n"
        "model = dict(clip='clip.safetensors', backbone=dict(num_prompts=3, num_regions=4), "
        "decode_head=dict(num_heads=4))\n"
        "inference = dict(mode='whole', crop_size=64)\nmax_iters = 1\nvisualize = dict(num_images=1)\n"
    )
    return folder


def run_val(folder, checkpoint, *overrides):
    command = [
        sys.executable,
        str(ROOT / "tools" / "run_net.py"),
        "--config",
        "released.py",
        "--task",
        "val",
        "--checkpoint",
        str(checkpoint),
        *(("--set", *overrides) if overrides else ()),
    ]
    environment = {**os.environ, "JSEG_CACHE": str(folder / "cache")}
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, env=environment)


@pytest.mark.slow
def test_run_net_evaluates_released_files(run_folder, files):
    """The PyTorch and the JSeg release give the same metrics through the command line."""
    metrics = []
    for name in ("pytorch.pth", "jseg.pkl"):
        result = run_val(run_folder, files / name)
        assert result.returncode == 0, result.stderr[-800:]
        found = json.loads((run_folder / "work_dirs" / "released" / "metrics.json").read_text())
        assert found.pop("checkpoint").endswith(name)
        metrics.append(found)
    assert metrics[0] == metrics[1] and len(metrics[0]["per_class"]) == 20


def test_released_models_get_the_text_of_a_file_as_it_is(run_folder, files, weights, tmp_path, monkeypatch):
    monkeypatch.chdir(run_folder)
    width = weights["backbone.proj"].shape[1]
    text = np.random.default_rng(0).normal(size=(20, width)).astype(np.float16)
    np.save("text.npy", text)
    stored = text.astype(np.float32)
    unit = stored / np.linalg.norm(stored, axis=1, keepdims=True)
    for option, fresh, released in (("None", unit, stored), ("True", unit, unit), ("False", stored, stored)):
        overrides = [
            "model.text_embeddings=text.npy",
            f"model.normalize_text={option}",
            f"work_dir={tmp_path}",
        ]
        experiment = Experiment(Config.load("released.py", overrides))
        np.testing.assert_allclose(experiment.model()._text.numpy(), fresh, rtol=1e-6)
        model, _ = experiment.trained_model(files / "pytorch.pth")
        np.testing.assert_allclose(model._text.numpy(), released, rtol=1e-6)


def test_run_net_says_which_keys_to_set(run_folder, files):
    result = run_val(
        run_folder,
        files / "pytorch.pth",
        "model.backbone.num_prompts=5",
        "model.decode_head.num_layers=2",
        "model.decode_head.recovery=None",
    )
    lines = result.stderr.splitlines()  # Jittor's progress may stand between them
    error = [line for line in lines if line.startswith("error: ")]
    assert result.returncode == 2 and re.search(r"\b(CPU|CUDA)\b", lines[0])
    assert "Traceback" not in result.stderr
    assert len(error) == 1 and "pytorch.pth" in error[0]
    for key, wanted, now in (
        ("model.backbone.num_prompts", 3, 5),
        ("model.decode_head.num_layers", 3, 2),
        ("model.decode_head.recovery", 1, None),
    ):
        rest = error[0].split(key, 1)[1].split("model.", 1)[0]
        assert {str(wanted), str(now)} <= set(re.findall(r"\d+|None", rest)), error[0]
