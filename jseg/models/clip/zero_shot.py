"""Zero-shot classification: class words -> text embeddings -> probabilities of an image."""

from collections.abc import Callable, Sequence

import numpy as np

from jseg.models.clip.model import CLIP, TextTransformer, l2_normalize
from jseg.models.clip.templates import get_templates
from jseg.models.clip.tokenizer import tokenize
from jseg.ops import linear
from jseg.runtime.backend import jt, nn


class ClassWordError(ValueError):
    """A class word that the text encoder cannot process.

    Attributes:
        word: the class word.
    """

    def __init__(self, word: str, problem: str) -> None:
        super().__init__(f"class '{word[:60]}': {problem}")
        self.word = word


def text_embeddings(
    clip: TextTransformer,
    class_names: Sequence[str],
    templates: str | Sequence[str] = "single",
    batch_size: int = 64,
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
            raise ClassWordError(name, str(error)) from error
    features = _encoded(clip, np.concatenate(tokens), batch_size)
    mean = features.reshape(len(class_names), len(patterns), -1).mean(axis=1)
    return mean / np.linalg.norm(mean, axis=1, keepdims=True)


def _encoded(clip: TextTransformer, tokens: np.ndarray, batch_size: int) -> np.ndarray:
    """Unit rows (n, embed_dim) of n texts. Texts of similar length share a batch, cut to its longest."""
    order = tokens.argmax(axis=1).argsort(kind="stable")
    features = np.empty((len(tokens), clip.config.embed_dim), np.float32)
    with jt.no_grad():
        for start in range(0, len(tokens), batch_size):
            chosen = order[start : start + batch_size]
            features[chosen] = l2_normalize(clip.encode_text(tokens[chosen])).numpy()
    return features


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
