"""The converters: files, output and errors."""

import errno
import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from checkpoint_writers import safetensors_bytes

from jseg.checkpoints import (
    clip_from_any,
    clip_rc_from_release,
    clip_rc_to_release,
    clip_to_hugging_face,
    read_tensors,
    resize_positions,
    save_arrays,
)
from jseg.checkpoints import convert as shared
from jseg.checkpoints.clip_rc_architecture import REGION_TOKENS, clip_rc_parameter_names
from jseg.checkpoints.convert import digests
from jseg.cli.convert_checkpoint import main as convert_checkpoint
from jseg.cli.convert_clip import main as convert_clip
from jseg.files import file_sha256
from jseg.models.clip import load_clip
from jseg.runtime.backend import jt

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "tests" / "golden"


def assert_same(first, second):
    assert digests(first) == digests(second)


def in_one_line(said, *numbers):
    """Whether one line that was printed holds all these numbers."""
    lines = [Counter(re.findall(r"\b\d[\d,]*\b", line)) for line in said.splitlines()]
    return any(not Counter(numbers) - found for found in lines)


@pytest.fixture(scope="module")
def clip_files(openai_archive, tmp_path_factory):
    """One CLIP under the names of OpenAI, Hugging Face and open_clip."""
    folder = tmp_path_factory.mktemp("names")
    state, _ = clip_from_any(read_tensors(openai_archive))
    mine = ("visual.", "logit_scale")
    open_clip = {name if name.startswith(mine) else f"text.{name}": array for name, array in state.items()}
    open_clip["text.attn_mask"] = np.zeros((77, 77), np.float32)
    hugging_face = {**clip_to_hugging_face(state), "text_model.embeddings.position_ids": np.arange(77)[None]}
    files = {"OpenAI CLIP": openai_archive}
    for kind, arrays in (("Hugging Face CLIPModel", hugging_face), ("open_clip", open_clip)):
        files[kind] = folder / f"{kind}.safetensors"
        files[kind].write_bytes(safetensors_bytes(arrays, {"format": "pt"}))
    return files


def features(path, recorded):
    clip = load_clip(str(path))
    with jt.no_grad():
        return [
            clip.encode_image(jt.array(recorded["image"])).numpy(),
            clip.encode_text(recorded["tokens"]).numpy(),
            clip(jt.array(recorded["image"]), recorded["tokens"])[0].numpy(),
        ]


def test_every_naming_gives_the_recorded_features_before_and_after_conversion(clip_files, tmp_path, capsys):
    with np.load(GOLDEN / "clip_tiny" / "io.npz") as file:
        recorded = dict(file)
    expected = [recorded[name] for name in ("image_features", "text_features", "logits_per_image")]
    original = features(clip_files["OpenAI CLIP"], recorded)
    for value, wanted in zip(original, expected):
        assert np.abs(value - wanted).max() <= 2e-5 * np.abs(wanted).max()
    for kind, path in clip_files.items():
        out = tmp_path / f"{path.stem}.safetensors"
        assert convert_clip([str(path), str(out)]) == 0
        said = capsys.readouterr().out
        assert kind in said.replace(path.name, "") and file_sha256(path) in said and file_sha256(out) in said
        assert "3,386,177" in said and in_one_line(said, "48", "8", "2", "64")
        for source in (path, out):
            for value, same in zip(features(source, recorded), original):
                assert np.array_equal(value, same), (kind, source.name)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_clip_keeps_types_and_values(openai_archive, tmp_path, suffix):
    out = tmp_path / f"clip{suffix}"
    assert convert_clip([str(openai_archive), str(out)]) == 0
    expected, _ = clip_from_any(read_tensors(openai_archive))
    written = read_tensors(out)
    assert written["visual.conv1.weight"].dtype == np.float16 and written["logit_scale"].shape == ()
    assert_same(written, expected)
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["visual.proj", "logit_scale", "transformer.resblocks.1.ln_2.bias"])
def test_weights_that_are_not_finite(openai_archive, tmp_path, capsys, name, value):
    """They used to be accepted: `nan red circle` with exit status 0, and a training error that blamed the
    learning rate."""
    state, _ = clip_from_any(read_tensors(openai_archive))
    spoilt = np.array(state[name], np.float32)
    spoilt.reshape(-1)[-1] = value
    path = tmp_path / "clip.safetensors"
    path.write_bytes(safetensors_bytes({**state, name: spoilt}, {}))
    assert convert_clip([str(path), str(tmp_path / "out.npz")]) == 2
    said = capsys.readouterr().err
    assert str(path) in said and name in said and not (tmp_path / "out.npz").exists()
    with pytest.raises(ValueError, match=rf"clip\.safetensors.*{name}"):
        load_clip(str(path))


def test_a_position_table_that_is_no_square_names_its_file(openai_archive, tmp_path, capsys):
    state, _ = clip_from_any(read_tensors(openai_archive))
    path = tmp_path / "clip.safetensors"
    for name, array in (
        ("visual.positional_embedding", np.zeros((31, 64), np.float32)),
        ("visual.positional_embedding", np.zeros((1, 64), np.float32)),
        ("token_embedding.weight", np.zeros((5,), np.float32)),
    ):
        path.write_bytes(safetensors_bytes({**state, name: array}, {}))
        assert convert_clip([str(path), str(tmp_path / "out.npz")]) == 2
        said = capsys.readouterr().err
        assert str(path) in said and name in said and str(array.shape) in said


def test_an_infinite_mask_is_no_weight(openai_archive, tmp_path):
    """open_clip stores a causal mask of minus infinity with the weights."""
    state, _ = clip_from_any(read_tensors(openai_archive))
    mask = np.triu(np.full((77, 77), -np.inf, np.float32), 1)
    path = tmp_path / "clip.safetensors"
    path.write_bytes(safetensors_bytes({**state, "attn_mask": mask}, {}))
    assert convert_clip([str(path), str(tmp_path / "out.npz")]) == 0


def test_overwriting_needs_force_and_never_hits_the_source(openai_archive, tmp_path, capsys):
    out = tmp_path / "clip.npz"
    out.write_bytes(b"precious")
    assert convert_clip([str(openai_archive), str(out)]) == 2
    said = capsys.readouterr().err
    assert "clip.npz" in said and "--force" in said and out.read_bytes() == b"precious"
    assert convert_clip([str(openai_archive), str(out), "--force"]) == 0 and len(read_tensors(out)) == 62
    assert convert_clip([str(out), str(out), "--force"]) == 2
    assert str(out) in capsys.readouterr().err and len(read_tensors(out)) == 62
    for target, name in (
        (tmp_path / "x.pt", ".safetensors"),
        (tmp_path / "none" / "x.npz", str(tmp_path / "none")),
        (tmp_path, ".safetensors"),
    ):
        assert convert_clip([str(openai_archive), str(target)]) == 2
        assert name in capsys.readouterr().err


def test_a_wrong_checksum_is_said_loudly_and_stops(openai_archive, tmp_path, capsys, monkeypatch):
    source, out = tmp_path / "ViT-B-16.pt", tmp_path / "out.safetensors"
    source.write_bytes(openai_archive.read_bytes())
    assert convert_clip([str(source), str(out)]) == 2 and not out.exists()
    said = capsys.readouterr().err
    assert "WARNING" in said and file_sha256(source) in said and shared.OPENAI_SHA256["vit-b-16.pt"] in said
    assert convert_clip([str(source), str(out), "--force"]) == 0
    printed = capsys.readouterr()
    assert "WARNING" in printed.err and "published" in printed.out and "--force" in printed.out
    monkeypatch.setattr(shared, "OPENAI_SHA256", {"vit-b-16.pt": file_sha256(source)})
    assert convert_clip([str(source), str(tmp_path / "right.npz")]) == 0
    printed = capsys.readouterr()
    assert printed.err == "" and "published" in printed.out and "--force" not in printed.out


def test_published_sums_are_complete_and_found_by_name():
    assert len(shared.OPENAI_SHA256) == 4 and all(len(value) == 64 for value in shared.OPENAI_SHA256.values())
    assert shared.published_sha256("/some/where/ViT-L-14-336px.pt").startswith("3035c92b")
    assert shared.published_sha256("my-ViT-B-16.pt") is None
    assert shared.how_to_download("weights/ViT-B-16.safetensors") == "jseg download clip ViT-B-16"
    assert shared.how_to_download("clips/ViT-B-32.pt") == "jseg download clip ViT-B-32 --root clips"
    with pytest.raises(FileNotFoundError, match="download it: jseg download clip ViT-B-32 --root nowhere"):
        shared.find_weights("nowhere/ViT-B-32.pt")
    assert shared.how_to_download("weights/mine.safetensors") == ""


def test_a_write_that_reads_back_differently_leaves_the_old_file(tmp_path):
    out = tmp_path / "out.safetensors"
    out.write_bytes(b"old")

    def flip(path, arrays):
        save_arrays(path, {"a": arrays["a"] + 1}, {})

    with pytest.raises(ValueError, match=r"out\.safetensors.*'a'"):
        shared.write_verified(out, {"a": np.zeros(3, np.float32)}, flip)
    assert out.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_a_full_disk_names_the_file_that_was_asked_for(tmp_path, monkeypatch):
    out = tmp_path / "out.safetensors"

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=rf"{re.escape(str(out))}: No space left") as failure:
        shared.write_verified(out, {"a": np.zeros(3)}, lambda path, arrays: save_arrays(path, arrays, {}))
    assert ".tmp" not in str(failure.value) and not list(tmp_path.iterdir())


def test_what_is_no_clip_is_refused_by_name(releases, tmp_path, capsys):
    assert convert_clip([str(releases["pytorch"]), str(tmp_path / "x.npz")]) == 2
    said = capsys.readouterr().err
    assert (
        said.startswith("error: ") and "release.pth" in said and "CLIP-RC" in said and "open_clip" not in said
    )
    save_arrays(tmp_path / "RN50.pt", {"visual.layer1.0.conv1.weight": np.zeros(1)}, {})
    assert convert_clip([str(tmp_path / "RN50.pt"), str(tmp_path / "x.npz")]) == 2
    said = capsys.readouterr().err
    assert "RN50.pt" in said and "ResNet" in said
    assert not (tmp_path / "x.npz").exists()


@pytest.mark.parametrize("kind", ["pytorch", "jseg"])
def test_checkpoints_both_ways(releases, golden_weights, tmp_path, capsys, kind):
    own, back = tmp_path / "own.safetensors", tmp_path / "back.pth"
    assert convert_checkpoint([str(releases[kind]), str(own), "--to", "jseg"]) == 0
    said = capsys.readouterr().out
    assert file_sha256(releases[kind]) in said and file_sha256(own) in said
    assert in_one_line(said, "3", "64", "8", "64", "3", "4")
    assert in_one_line(said, "285,728", "190", "49")
    state, _ = clip_rc_from_release(golden_weights)
    assert_same(read_tensors(own), state)
    targets = {
        back: ["--to", "pytorch"],
        tmp_path / "back.pkl": ["--to", "jseg"],
        tmp_path / "names.safetensors": ["--to", "safetensors"],
        tmp_path / "again.pt": [],
    }
    for out, to in targets.items():
        assert convert_checkpoint([str(own), str(out), *to]) == 0
        written = read_tensors(out)
        assert set(written) == set(golden_weights) and written[REGION_TOKENS].shape == (4, 64)
        assert all(written[name].shape == golden_weights[name].shape for name in written)
        assert_same(clip_rc_from_release(written)[0], state)
    assert (
        read_tensors(back).kind == "torch.save archive"
        and read_tensors(tmp_path / "back.pkl").kind == "Jittor pickle"
    )
    again = tmp_path / "again.safetensors"
    assert convert_checkpoint([str(back), str(again)]) == 0
    assert_same(read_tensors(again), state)
    if kind == "pytorch":  # class words and iteration travel along
        assert json.loads(read_tensors(again).metadata["class_names"]) == ["c0", "c1"]
        assert read_tensors(back).metadata["meta.iter"] == 40000


@pytest.mark.parametrize(
    "arguments, names",
    [
        (["out.pkl", "--to", "pytorch"], ["out.pkl", "--to", "pytorch"]),
        (["out.pth", "--to", "jseg"], ["out.pth", "--to", "jseg"]),
        (["out.npz", "--clip", "x.pt"], ["release.pkl", "--clip"]),
    ],
)
def test_contradictory_options(releases, tmp_path, capsys, arguments, names):
    assert convert_checkpoint([str(releases["jseg"]), str(tmp_path / arguments[0]), *arguments[1:]]) == 2
    said = capsys.readouterr().err
    assert all(name in said for name in names) and not list(tmp_path.iterdir())


def test_damaged_and_foreign_checkpoints(releases, openai_archive, golden_weights, tmp_path, capsys):
    out = str(tmp_path / "out.safetensors")
    cut = tmp_path / "cut.pth"
    cut.write_bytes(releases["pytorch"].read_bytes()[:100_000])
    infinite = tmp_path / "infinite.safetensors"
    save_arrays(infinite, {**golden_weights, "decode_head.q_proj.bias": np.full(32, np.nan, np.float32)}, {})
    partial = tmp_path / "partial.safetensors"
    save_arrays(partial, {name: golden_weights[name] for name in golden_weights if "q_proj" not in name}, {})
    for source, name in (
        (cut, "cut.pth"),
        (openai_archive, "tools/convert_clip.py"),
        (tmp_path / "no.pth", "no.pth"),
        (infinite, "'decode_head.q_proj.bias'"),
        (partial, "decode_head.q_proj.weight"),
    ):
        assert convert_checkpoint([str(source), out]) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: ") and name in said and not Path(out).exists()


def test_a_checkpoint_of_a_run_is_completed_with_its_clip(openai_archive, tmp_path, capsys):
    """Trained part from the run, frozen part from the CLIP, positions resized to the crop (4x6 patches)."""
    clip, _ = clip_from_any(read_tensors(openai_archive))
    generator = np.random.default_rng(0)
    trained = {name: generator.standard_normal(8).astype(np.float32) for name in _trained_names()}
    trained["backbone.prompt_embeddings"] = np.ones((1, 2, 64), np.float32)
    trained["decode_head.lateral_proj.weight"] = np.ones((32, 96), np.float32)
    metadata = {
        "format": "jseg run 1",
        "iteration": "9",
        "class_names": '["a", "b"]',
        "clip": "openai.pt",
        "clip_sha256": file_sha256(openai_archive),
        "architecture": json.dumps({"image_size": [32, 48], "num_regions": 4}),
    }
    run, out = tmp_path / "iter_9.safetensors", tmp_path / "whole.pth"
    save_arrays(run, {**trained, "optimizer.exp_avg.x": np.zeros(2)}, metadata)
    assert convert_checkpoint([str(run), str(out)]) == 2
    said = capsys.readouterr().err
    assert "openai.pt" in said and "--clip" in said
    assert convert_checkpoint([str(run), str(out), "--clip", str(run)]) == 2
    assert metadata["clip_sha256"][:12] in capsys.readouterr().err
    assert convert_checkpoint([str(run), str(out), "--clip", str(openai_archive)]) == 0
    whole = read_tensors(out)
    assert all(np.array_equal(whole[name], value) for name, value in trained.items())
    assert whole["backbone.conv1.weight"].dtype == np.float32
    assert np.array_equal(whole["backbone.proj"], clip["visual.proj"].astype(np.float32))
    table = resize_positions(clip["visual.positional_embedding"].astype(np.float32), (4, 6))
    assert np.array_equal(whole["backbone.positional_embedding"], table) and whole[REGION_TOKENS].shape == (
        4,
        64,
    )
    assert whole.metadata["meta.CLASSES.1"] == "b" and whole.metadata["meta.iter"] == 9


def _trained_names():
    return [
        name
        for name in clip_rc_parameter_names(2, 1, None)
        if "prompt" in name or name.startswith("decode_head.")
    ]


def test_tools_work_from_any_folder_without_jittor(openai_archive, releases, tmp_path):
    """Started as a user does; the converters must not load Jittor (it takes seconds and memory)."""
    for name, source in (("convert_clip", openai_archive), ("convert_checkpoint", releases["pytorch"])):
        command = [
            sys.executable,
            "-X",
            "importtime",
            str(ROOT / "tools" / f"{name}.py"),
            str(source),
            f"{name}.safetensors",
        ]
        result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr[-500:]
        assert (tmp_path / command[-1]).is_file() and " jittor" not in result.stderr
        again = subprocess.run([command[0], *command[3:]], cwd=tmp_path, capture_output=True, text=True)
        assert again.returncode == 2 and again.stderr.startswith("error: ") and again.stderr.count("\n") == 1


def test_the_way_out_needs_no_state_of_the_way_in(golden_weights):
    """`clip_rc_to_release` of the golden weights gives back every tensor that a model uses, bit for bit."""
    state, report = clip_rc_from_release(golden_weights)
    back = clip_rc_to_release(state, 4)
    assert_same({name: back[name] for name in state}, {name: golden_weights[name] for name in state})
    assert set(report.ignored) == set(back) - set(state)


@pytest.mark.parametrize("regions", ["999999999999", "-4", "many", "4.5"])
def test_metadata_cannot_ask_for_memory(golden_weights, tmp_path, capsys, regions):
    source = tmp_path / "own.safetensors"
    save_arrays(source, clip_rc_from_release(golden_weights)[0], {"num_regions": regions})
    assert convert_checkpoint([str(source), str(tmp_path / "out.pth")]) == 2
    said = capsys.readouterr().err
    assert "own.safetensors" in said and "num_regions" in said and repr(regions) in said
