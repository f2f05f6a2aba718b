"""Files written by the original programs, not by our own writers."""

from pathlib import Path

import numpy as np

from jseg.checkpoints import clip_from_any, clip_rc_from_release, clip_rc_to_release, read_tensors
from jseg.checkpoints.clip import OPENAI

GOLDEN = Path(__file__).resolve().parents[1] / "golden"


def test_torchscript_archive_as_openai_publishes_it(openai_archive: Path) -> None:
    tensors = read_tensors(openai_archive)
    assert "TorchScript" in tensors.kind and len(tensors) == 65
    assert (
        tensors["visual.conv1.weight"].shape == (64, 3, 8, 8)
        and tensors["visual.conv1.weight"].dtype == np.float16
    )
    assert tensors["positional_embedding"].dtype == np.float32
    assert tensors["input_resolution"] == 48 and tensors["vocab_size"] == 49408
    np.testing.assert_allclose(tensors["logit_scale"], np.log(1 / 0.07), rtol=1e-5)
    state, report = clip_from_any(tensors)
    report.check("openai.pt")
    assert report.kind == OPENAI and set(report.ignored) == {
        "input_resolution",
        "context_length",
        "vocab_size",
    }
    assert len(state) == 62 and all(np.isfinite(array).all() for array in state.values())


def test_names_of_the_released_clip_rc() -> None:
    source = read_tensors(GOLDEN / "tiny" / "weights.npz")
    state, report = clip_rc_from_release(source)
    report.check("weights.npz")
    assert "backbone.region_level_bridge" in report.ignored
    assert all(
        ".self_attn." in name or ".norm1." in name or name.endswith("bridge") for name in report.ignored
    )
    back = clip_rc_to_release(state, num_regions=4)
    assert {name: array.shape for name, array in back.items()} == {
        name: source.entry(name).shape for name in source
    }
    np.testing.assert_allclose(
        back["backbone.region_level_bridge"], source["backbone.region_level_bridge"], atol=1e-6
    )
