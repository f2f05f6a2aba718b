"""Zero-shot classification: class words -> text embeddings -> probabilities of an image."""

from collections.abc import Callable, Sequence

import numpy as np

from jseg.models.clip.model import CLIP, TextTransformer, l2_normalize
from jseg.models.clip.templates import get_templates
from jseg.models.clip.tokenizer import tokenize
from jseg.ops import linear
from jseg.runtime.backend import jt, nn


class ClassWordError(ValueError):
    """A class word that the text encoder cannot process."""


def text_embeddings(
    clip: TextTransformer,
    class_names: Sequence[str],
    templates: str | Sequence[str] = "single",
    batch_size: int = 256,
    tokenizer: Callable[[Sequence[str]], np.ndarray] | None = None,
) -> np.ndarray:
    """One vector for each class: texts are normalised, averaged over the templates, and normalised again.

    Args:
        clip: a text tower, which a whole CLIP is too; without gradient.
        class_names: C words or phrases, put into the templates as they are.
        templates: a name of `TEMPLATES` or a list of strings with `{}`.
        batch_size: texts encoded at once.
        tokenizer: texts -> ids, for a CLIP whose vocabulary is not OpenAI's; None for `tokenize`.

    Returns:
        (C, embed_dim) float32, rows of length 1.

    Raises:
        ClassWordError: a class word is too long for the context of this CLIP; names it.
    """
    patterns = get_templates(templates)
    encode = tokenizer or (lambda texts: tokenize(texts, clip.config.context_length))
    tokens = []
    for name in class_names:
        try:
            tokens.append(encode([pattern.replace("{}", name) for pattern in patterns]))
        except ValueError as error:
            raise ClassWordError(f"class '{name[:60]}': {error}") from error
    tokens = np.concatenate(tokens)
    with jt.no_grad():
        features = [
            l2_normalize(clip.encode_text(tokens[start : start + batch_size])).numpy()
            for start in range(0, len(tokens), batch_size)
        ]
    mean = np.concatenate(features).reshape(len(class_names), len(patterns), -1).mean(axis=1)
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)


def class_probabilities(clip: CLIP, image: jt.Var, text: np.ndarray) -> np.ndarray:
    """Softmax over classes of temperature · cosine similarity.

    Args:
        image: (B, 3, R, R) preprocessed for `clip`.
        text: (C, embed_dim) of unit rows, from `text_embeddings`.

    Returns:
        (B, C) float32, rows sum to 1.
    """
    with jt.no_grad():
        logits = linear(l2_normalize(clip.encode_image(image)), jt.array(text)) * clip.logit_scale.exp()
        return nn.softmax(logits, dim=-1).numpy()
