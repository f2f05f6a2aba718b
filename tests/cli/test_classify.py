"""CLIP's preprocessing by hand, and the command line that prints probabilities."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jseg.cli.classify import main
from jseg.datasets.clip_image import MAX_ASPECT, clip_preprocess, read_clip_image
from jseg.models.clip import load_clip, tokenize
from jseg.runtime.backend import jt

ROOT = Path(__file__).resolve().parents[2]
# OpenAI's constants on the 0..1 scale, from clip/clip.py.
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "picture.png"
    pixels = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def normalised(pixels):
    return ((pixels / 255.0 - MEAN) / STD).transpose(2, 0, 1)


@pytest.mark.parametrize(
    "width, height, left, top", [(8, 8, 0, 0), (13, 8, 2, 0), (15, 8, 4, 0), (8, 11, 0, 2)]
)
def test_crop_starts_at_the_rounded_half(width, height, left, top):
    """Short side right already: no resize. Halves go to the even number: 2.5 -> 2, 3.5 -> 4, 1.5 -> 2."""
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    result = clip_preprocess(Image.fromarray(pixels), 8)
    assert result.shape == (3, 8, 8) and result.dtype == np.float32
    np.testing.assert_allclose(result, normalised(pixels[top : top + 8, left : left + 8]), atol=1e-5)


def cubic(distance, a=-0.5):
    """Keys' kernel with a = -0.5, which Pillow calls BICUBIC."""
    distance = abs(distance)
    if distance < 1:
        return (a + 2) * distance**3 - (a + 3) * distance**2 + 1
    return a * (distance**3 - 5 * distance**2 + 8 * distance - 4) if distance < 2 else 0.0


def test_shrinking_is_bicubic_with_smoothing():
    """A row of 12 becomes 6: the kernel is stretched by 2, weights are normalised, edges cut off."""
    row = np.random.default_rng(2).integers(60, 190, 12)
    pixels = np.repeat(np.tile(row, (12, 1))[:, :, None], 3, axis=2).astype(np.uint8)
    expected = []
    for i in range(6):
        centre = (i + 0.5) * 2
        kernel = np.array([cubic((j + 0.5 - centre) / 2) for j in range(12)])
        expected.append((kernel * row).sum() / kernel.sum())
    result = clip_preprocess(Image.fromarray(pixels), 6)
    red = result[0] * STD[0] * 255 + MEAN[0] * 255
    np.testing.assert_allclose(red, np.tile(expected, (6, 1)), atol=0.6)  # Pillow rounds to whole numbers


def test_the_long_side_is_rounded_down():
    """7x5 pixels to 8: the long side is int(11.2) = 11, the crop starts at round(1.5) = 2."""
    image = Image.fromarray(np.arange(105, dtype=np.uint8).reshape(5, 7, 3) * 2)
    expected = np.asarray(image.resize((11, 8), Image.Resampling.BICUBIC))[:, 2:10]
    np.testing.assert_allclose(clip_preprocess(image, 8), normalised(expected), atol=1e-5)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1", "LA"])
def test_every_mode_becomes_rgb(mode):
    image = Image.new("RGB", (10, 10), (255, 255, 255)).convert(mode)
    np.testing.assert_allclose(clip_preprocess(image, 4), normalised(np.full((4, 4, 3), 255)), atol=1e-5)


def test_bad_images_are_named(tmp_path):
    with pytest.raises(ValueError, match=str(MAX_ASPECT + 1)):
        clip_preprocess(Image.new("RGB", (MAX_ASPECT + 1, 1)), 224)
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(ValueError, match=r"text\.png"):
        read_clip_image(tmp_path / "text.png", 8)
    with pytest.raises(FileNotFoundError, match=r"nowhere\.png"):
        read_clip_image(tmp_path / "nowhere.png", 8)


def test_probabilities_are_those_of_the_formula(picture, openai_archive, capsys):
    """softmax(exp(logit_scale) · cos(image, text)) in float64, from the features of the two towers."""
    words = ["cat", "red car", "very large old dog"]  # of 1, 2, 4 tokens: the recorded table knows few words
    assert (
        main([str(picture), *words, "--clip", str(openai_archive), "--templates", "a sketch of a {}."]) == 0
    )
    shown = [line.split(None, 1) for line in capsys.readouterr().out.splitlines()]
    clip = load_clip(str(openai_archive))
    with jt.no_grad():
        image = clip.encode_image(jt.array(read_clip_image(picture, 48)[None])).numpy()[0].astype(np.float64)
        text = (
            clip.encode_text(tokenize([f"a sketch of a {word}." for word in words], 77))
            .numpy()
            .astype(np.float64)
        )
    cosines = text @ image / np.linalg.norm(text, axis=1) / np.linalg.norm(image)
    scores = np.exp(cosines * np.exp(clip.logit_scale.numpy().item()))
    expected = sorted(zip(scores / scores.sum(), words), reverse=True)
    assert [word for _, word in shown] == [word for _, word in expected]
    np.testing.assert_allclose(
        [float(value) for value, _ in shown], [value for value, _ in expected], atol=6e-5
    )


def test_from_another_folder_and_with_named_templates(picture, openai_archive, tmp_path):
    command = [
        sys.executable,
        str(ROOT / "tools" / "classify.py"),
        picture.name,
        "a",
        "b",
        "--clip",
        str(openai_archive),
        "--templates",
        "ensemble15",
    ]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-500:]
    values = [float(line.split()[0]) for line in result.stdout.splitlines() if line.endswith(("  a", "  b"))]
    assert len(values) == 2 and values[0] >= values[1] and sum(values) == pytest.approx(1, abs=2e-4)


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"image": "none.png"}, "none.png"),
        ({"--clip": "none.pt"}, "none.pt"),
        ({"--templates": "sinlge"}, "sinlge"),
        ({"--templates": "{} {}"}, "{} {}"),
    ],
)
def test_errors_are_one_sentence(picture, openai_archive, capsys, changes, words):
    image = changes.pop("image", str(picture))
    options = {"--clip": str(openai_archive), **changes}
    assert main([image, "cat", *[part for pair in options.items() for part in pair]]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and words in said and said.count("\n") == 1
