"""Heads and activation of files saved by other libraries, of converted files, and of files without this
information."""

import gzip
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from jseg import parity
from jseg.checkpoints import clip_state, read_tensors
from jseg.checkpoints.clip import HUGGING_FACE, OPEN_CLIP, OPENAI
from jseg.checkpoints.clip_settings import CLIPSettings, CLIPSizes, clip_settings, clip_sizes
from jseg.cli.convert_clip import main as convert_clip
from jseg.models.clip import load_clip, read_clip_config

GOLDEN = Path(__file__).resolve().parents[1] / "golden"
CONFIGS = {"clip_gelu": "config.json", "clip_open": "open_clip_config.json"}


@pytest.fixture(params=["clip_gelu", "clip_open"])
def case(request, tmp_path):
    """A case folder as saved by the library."""
    folder = tmp_path / request.param
    shutil.copytree(GOLDEN / request.param, folder)
    (packed,) = folder.glob("*.gz")
    packed.with_suffix("").write_bytes(gzip.decompress(packed.read_bytes()))
    packed.unlink()
    return folder


def weights_of(case):
    return case / json.loads((case / "case.json").read_text())["weights"]


def test_features_are_those_of_the_library(case):
    """With QuickGELU and heads of 64 channels, the features would be off by 78 % and 7 %."""
    assert clip_sizes(clip_state(read_tensors(weights_of(case)))[0]) == SIZES
    computed, recorded = parity.run_case(case)
    assert len(recorded) == 3 and all(row.passed for row in parity.compare(computed, recorded))


def test_a_converted_file_keeps_what_the_tensors_do_not_tell(case, tmp_path, capsys):
    own, archive = str(tmp_path / "own.safetensors"), str(tmp_path / "own.npz")
    assert convert_clip([str(weights_of(case)), own]) == 0
    assert read_clip_config(own) == read_clip_config(weights_of(case))
    config = read_clip_config(own)
    assert (config.vision_heads, config.transformer_heads, config.activation) == (2, 2, "gelu")
    capsys.readouterr()
    assert convert_clip([str(weights_of(case)), archive]) == 2
    said = capsys.readouterr().err
    assert "own.npz" in said and "gelu" in said and not Path(archive).exists()


def test_without_its_configuration_it_is_refused_or_told(case, tmp_path, capsys):
    source, own = weights_of(case), str(tmp_path / "own.safetensors")
    (case / CONFIGS[case.name]).unlink()
    with pytest.raises(ValueError, match=rf"{source.name}.*\b80\b.*--heads"):
        load_clip(source)
    assert convert_clip([str(source), own]) == 2 and "--heads" in capsys.readouterr().err
    assert convert_clip([str(source), own, "--heads", "2,2", "--activation", "gelu"]) == 0
    computed = load_clip(own).encode_text(np.load(case / "io.npz")["tokens"]).numpy()
    wanted = np.load(case / "io.npz")["text_features"]
    assert np.abs(computed - wanted).max() < 2e-5 * np.abs(wanted).max()
    with pytest.raises(SystemExit):
        convert_clip([str(source), own, "--heads", "2"])


SIZES = CLIPSizes(80, 48, vision_layers=3, text_layers=2, patch_size=8, joint_width=40)
"""Of both golden CLIPs."""


@pytest.mark.parametrize(
    "change, named",
    [
        ({"hidden_size": 96}, r"vision width 96\b.*\b80\b"),
        ({"num_hidden_layers": 12}, r"vision layers 12\b.*\b3\b"),
        ({"patch_size": 16}, r"patch size 16\b.*\b8\b"),
        ({"num_attention_heads": 3}, r"\b3\b.*\b80\b"),
        ({"hidden_act": "relu"}, "activations"),
        ({"layer_norm_eps": 1e-6}, r"vision_config\.layer_norm_eps.*1e-06.*1e-05"),
        ("text", "configuration"),
    ],
)
def test_a_configuration_that_contradicts_is_named(tmp_path, change, named):
    content = json.loads((GOLDEN / "clip_gelu" / "config.json").read_text())
    if isinstance(change, dict):
        content["vision_config"].update(change)
    text = json.dumps(content) if isinstance(change, dict) else "[1]"
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(ValueError, match=named):
        clip_settings(tmp_path / "model.safetensors", HUGGING_FACE, SIZES, {})


@pytest.mark.parametrize(
    "tower, change, named",
    [
        ("text_cfg", {"layers": 12}, r"text layers 12\b.*\b2\b"),
        ("vision_cfg", {"pool_type": "avg"}, r"vision_cfg\.pool_type = 'avg'.*'tok'"),
        ("vision_cfg", {"norm_kwargs": {"eps": 1e-6}}, r"vision_cfg\.norm_kwargs"),
        ("text_cfg", {"no_causal_mask": True}, r"text_cfg\.no_causal_mask"),
    ],
)
def test_options_of_open_clip_that_the_tensors_do_not_show_are_refused(tmp_path, tower, change, named):
    """open_clip's CLIPA models, for example, average the patches, and their text tower has no mask."""
    content = json.loads((GOLDEN / "clip_open" / "open_clip_config.json").read_text())
    content["model_cfg"]["vision_cfg"].update(norm_kwargs={}, act_kwargs=None)
    (tmp_path / "open_clip_config.json").write_text(json.dumps(content))
    assert clip_settings(tmp_path / "x.bin", OPEN_CLIP, SIZES, {}) == CLIPSettings(2, 2, "gelu")
    content["model_cfg"][tower].update(change)
    (tmp_path / "open_clip_config.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=named):
        clip_settings(tmp_path / "x.bin", OPEN_CLIP, SIZES, {})


def test_openai_needs_no_configuration(openai_archive):
    assert clip_settings("x.pt", OPENAI, CLIPSizes(768, 512), {}) == CLIPSettings(12, 8, "quick_gelu")
    assert read_clip_config(openai_archive).identity("a") == "a"
    with pytest.raises(ValueError, match="heads"):
        clip_settings("x.pt", OPENAI, CLIPSizes(96, 64), {})
    assert read_tensors(openai_archive)
