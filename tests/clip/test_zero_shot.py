"""Templates, text embeddings, and class probabilities."""

import numpy as np
import pytest

from jseg.models.clip import CLIP, TEMPLATES, class_probabilities, text_embeddings, tokenize
from jseg.models.clip.templates import get_templates
from jseg.runtime.backend import jt


def test_templates_of_the_releases() -> None:
    """One without a full stop (VOC), fifteen different ones (COCO-Stuff, Context)."""
    assert TEMPLATES["single"] == ("a photo of a {}",)
    assert len(set(TEMPLATES["ensemble15"])) == 15
    assert all(template.count("{}") == 1 and template.endswith(".") for template in TEMPLATES["ensemble15"])
    assert get_templates("single") is TEMPLATES["single"]
    assert get_templates(["one {}", "two {}"]) == ("one {}", "two {}")


@pytest.mark.parametrize(
    "templates, words",
    [
        ("sinlge", "'sinlge'.*single.*ensemble15"),
        ([], "empty"),
        (["a {} {}"], "'a {} {}'"),
        (["a photo"], "'a photo'.*{}"),
    ],
)
def test_templates_that_cannot_be_used(templates: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        get_templates(templates)


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_embeddings_are_normalised_averaged_and_normalised_again(golden_clip: CLIP) -> None:
    """Recomputed text by text. Averaging before normalising would weigh the templates by their length."""
    words, templates = ["cat", "potted plant", "sky {blue}"], ["a photo of a {}", "{} in the scene.", "{}"]
    texts = [[template.replace("{}", word) for template in templates] for word in words]
    features = np.stack([golden_clip.encode_text(tokenize(row)).numpy() for row in texts]).astype(np.float64)
    embeddings = text_embeddings(golden_clip, words, templates, batch_size=4)
    assert embeddings.shape == (3, 32) and embeddings.dtype == np.float32
    assert np.allclose(embeddings, unit(unit(features).mean(1)), atol=2e-6)
    assert np.allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-6)
    assert not np.allclose(embeddings, unit(features.mean(1)), atol=2e-6)


def test_embeddings_do_not_depend_on_the_batch_size(golden_clip: CLIP) -> None:
    several, one = (text_embeddings(golden_clip, ["cat", "dog"], "ensemble15", size) for size in (30, 7))
    assert np.allclose(several, one, atol=2e-6)


def test_another_tokenizer(golden_clip: CLIP) -> None:
    """For a CLIP whose vocabulary is not OpenAI's."""
    seen = []

    def shouting(texts: list) -> np.ndarray:
        seen.extend(texts)
        return tokenize([text + " indeed" for text in texts])

    embeddings = text_embeddings(golden_clip, ["cat"], "single", tokenizer=shouting)
    assert seen == ["a photo of a cat"]
    assert np.allclose(
        embeddings, text_embeddings(golden_clip, ["cat"], ["a photo of a {} indeed"]), atol=2e-6
    )


def test_probabilities_are_the_softmax_of_the_recorded_logits(golden_clip: CLIP, recorded: dict) -> None:
    text = unit(recorded["text_features"])
    probabilities = class_probabilities(golden_clip, jt.array(recorded["image"]), text)
    expected = np.exp(recorded["logits_per_image"] - recorded["logits_per_image"].max(1, keepdims=True))
    assert np.allclose(probabilities, expected / expected.sum(1, keepdims=True), atol=1e-4)
    assert np.allclose(probabilities.sum(1), 1, atol=1e-6)


def test_a_class_word_too_long_for_the_context_is_named(golden_clip):
    with pytest.raises(ValueError, match=r"class 'a b a b.*\b77\b"):
        text_embeddings(golden_clip, ["cat", "a b " * 50], "single")
