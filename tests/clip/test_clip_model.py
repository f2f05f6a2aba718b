"""Both towers: recorded features, sizes derived from the tensors,
and errors for files that do not match."""

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from jseg.checkpoints import read_tensors, save_arrays
from jseg.models.clip import CLIP, CLIPConfig, load_clip, tokenize
from jseg.models.clip.config import config_from_tensors
from jseg.models.layers import PatchConvolution
from jseg.models.state import arrays_of, load_arrays_into
from jseg.runtime.backend import jt


@pytest.fixture
def small_arrays(small_config: CLIPConfig) -> dict[str, np.ndarray]:
    np.random.seed(0)
    return dict(arrays_of(CLIP(small_config)))


def assert_close(actual: np.ndarray, expected: np.ndarray, tolerance: float = 2e-5) -> None:
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() <= tolerance * np.abs(expected).max()


def test_recorded_features(golden_clip: CLIP, recorded: dict[str, np.ndarray]) -> None:
    image, tokens = jt.array(recorded["image"]), recorded["tokens"]
    assert_close(golden_clip.encode_image(image).numpy(), recorded["image_features"])
    assert_close(golden_clip.encode_text(tokens).numpy(), recorded["text_features"])
    per_image, per_text = golden_clip(image, tokens)
    assert_close(per_image.numpy(), recorded["logits_per_image"])
    assert_close(per_text.numpy(), recorded["logits_per_image"].T)


def test_plain_operators_give_the_recorded_features_too(
    golden_clip: CLIP, recorded: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JSEG_FUSED", "0")
    assert_close(golden_clip.encode_text(recorded["tokens"]).numpy(), recorded["text_features"])


def test_a_text_is_encoded_alike_alone_and_beside_longer_ones(golden_clip: CLIP) -> None:
    """The tower omits tokens after the last end token of the batch."""
    rows = tokenize(["a dog", "a photo of a very large dog that sleeps in the sun."])
    together = golden_clip.encode_text(rows).numpy()
    assert_close(golden_clip.encode_text(rows[:1]).numpy(), together[:1])
    assert np.abs(together[0] - together[1]).max() > 1e-2


def test_sizes_of_the_recorded_archive(golden_clip: CLIP) -> None:
    assert asdict(golden_clip.config) == dict(
        embed_dim=32,
        image_resolution=48,
        vision_layers=2,
        vision_width=64,
        vision_patch_size=8,
        context_length=77,
        vocab_size=49408,
        transformer_width=64,
        transformer_layers=2,
        vision_heads=1,
        transformer_heads=1,
        activation="quick_gelu",
    )
    assert golden_clip.config.grid_size == 6


def test_sizes_are_read_off_the_tensors(
    small_config: CLIPConfig, small_arrays: dict[str, np.ndarray]
) -> None:
    assert config_from_tensors(small_arrays, "x") == small_config
    assert small_config.grid_size == 5


def test_weights_survive_saving_and_loading(tmp_path: Path, small_arrays: dict[str, np.ndarray]) -> None:
    save_arrays(tmp_path / "clip.safetensors", small_arrays, {})
    loaded = arrays_of(load_clip(str(tmp_path / "clip.safetensors")))
    assert set(loaded) == set(small_arrays)
    for name, array in small_arrays.items():
        assert np.array_equal(loaded[name], array), name


def test_parameter_names_are_those_of_openai(golden_clip: CLIP, openai_archive: Path) -> None:
    buffers = {"input_resolution", "context_length", "vocab_size"}
    assert set(arrays_of(golden_clip)) == set(read_tensors(openai_archive)) - buffers


def test_a_resnet_clip_is_named_as_such(small_arrays: dict[str, np.ndarray]) -> None:
    small_arrays["visual.layer1.0.conv1.weight"] = np.zeros((4, 4, 1, 1), np.float32)
    del small_arrays["visual.positional_embedding"], small_arrays["visual.proj"]
    with pytest.raises(ValueError, match="RN50.pt.*ResNet.*ViT-B/16"):
        config_from_tensors(small_arrays, "RN50.pt")


def test_other_weights_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a.bin.*ViT.*visual.conv1.weight.*visual.pos"):
        config_from_tensors({"fc.weight": np.zeros((2, 2))}, "a.bin")
    with pytest.raises(FileNotFoundError, match="nowhere.pt"):
        load_clip(str(tmp_path / "nowhere.pt"))


@pytest.mark.parametrize(
    "name, shape, words",
    [
        ("visual.conv1.weight", (128, 48), r"visual.conv1.weight \(128, 48\)"),
        ("visual.positional_embedding", (), r"visual.positional_embedding \(\)"),
        ("visual.positional_embedding", (25, 128), r"visual.positional_embedding.*\b25\b"),
        ("visual.positional_embedding", (1, 128), r"visual.positional_embedding.*\b1\b"),
    ],
)
def test_impossible_shapes(small_arrays: dict[str, np.ndarray], name: str, shape: tuple, words: str) -> None:
    small_arrays[name] = np.zeros(shape, np.float32)
    with pytest.raises(ValueError, match=words):
        config_from_tensors(small_arrays, "odd.pt")


def test_incomplete_and_foreign_tensors_are_listed(
    tmp_path: Path, small_arrays: dict[str, np.ndarray]
) -> None:
    path = tmp_path / "clip.safetensors"
    for gone in ("logit_scale", "visual.transformer.resblocks.1.attn.in_proj_bias"):
        save_arrays(path, {name: array for name, array in small_arrays.items() if name != gone}, {})
        with pytest.raises(ValueError, match=f"clip.safetensors.*{gone}"):
            load_clip(str(path))
    save_arrays(path, {**small_arrays, "extra.bias": np.zeros(3, np.float32)}, {})
    with pytest.raises(ValueError, match="clip.safetensors.*extra.bias"):
        load_clip(str(path))
    save_arrays(path, {**small_arrays, "ln_final.bias": np.zeros(3, np.float32)}, {})
    with pytest.raises(ValueError, match=r"ln_final.bias.*\(3,\).*\(64,\)"):
        load_clip(str(path))


def test_a_refused_load_changes_nothing(
    small_config: CLIPConfig, small_arrays: dict[str, np.ndarray]
) -> None:
    model = CLIP(small_config)
    before = arrays_of(model)
    with pytest.raises(ValueError):
        load_arrays_into(model, {**small_arrays, "logit_scale": np.zeros((2,), np.float32)}, "x")
    after = arrays_of(model)
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_images_of_another_size_are_refused(small_config: CLIPConfig) -> None:
    visual = CLIP(small_config).visual
    with pytest.raises(ValueError, match=r"24x20.*\b30\b.*\b25\b"):
        visual(jt.zeros((1, 3, 24, 20)))
    with pytest.raises(ValueError, match=r"22x20.*\b4\b"):
        visual(jt.zeros((1, 3, 22, 20)))


def test_patches_are_the_convolution_they_replace() -> None:
    """A patch's value is the sum of window · kernel, row by row, window by window."""
    rng = np.random.default_rng(0)
    image, weight = rng.standard_normal((2, 3, 4, 6)), rng.standard_normal((5, 3, 2, 2))
    convolution = PatchConvolution(5, 2, std=1.0)
    convolution.weight = jt.array(weight.astype(np.float32))
    patches = convolution(jt.array(image.astype(np.float32))).numpy()
    for row in range(2):
        for column in range(3):
            window = image[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            assert_close(patches[:, 3 * row + column], np.einsum("bcyx,dcyx->bd", window, weight))


def test_same_seed_same_initial_weights(small_config: CLIPConfig) -> None:
    def weights(seed: int) -> np.ndarray:
        np.random.seed(seed)
        return CLIP(replace(small_config, vision_layers=1, transformer_layers=1)).text_projection.numpy()

    assert np.array_equal(weights(3), weights(3)) and not np.array_equal(weights(3), weights(4))
    assert np.abs(weights(3)).max() <= 2 / 64**0.5 + 1e-6  # truncated at two standard deviations
