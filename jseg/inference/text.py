"""Encodes words with the text tower of a CLIP, which is loaded when the first uncached word is requested."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from jseg.files import PathLike, file_sha256
from jseg.models.clip import StoredCLIP, text_embeddings, tokenize
from jseg.models.clip.templates import get_templates
from jseg.models.segmentors.text_cache import cached_embeddings


class TextEncoder:
    """Embeddings of phrases, cached in memory and on disk.

    Args:
        clip: file of CLIP weights.
        templates: prompt templates, a name or a list with `{}`.
    """

    def __init__(self, clip: PathLike, templates: str | Sequence[str]) -> None:
        self.clip, self.templates = str(clip), get_templates(templates)
        self._known: dict[str, np.ndarray] = {}

    def __call__(self, phrases: Sequence[str]) -> np.ndarray:
        """(n, d) float32, rows of length 1.

        Raises:
            ValueError: if a phrase is too long for this CLIP. The message names it.
        """
        new = [phrase for phrase in dict.fromkeys(phrases) if phrase not in self._known]
        if new:
            identity = self._stored.config.identity(file_sha256(self.clip))
            vectors = cached_embeddings(identity, new, self.templates, lambda: self._compute(new))
            self._known.update(zip(new, vectors))
        return np.stack([self._known[phrase] for phrase in phrases])

    @cached_property
    def _stored(self) -> StoredCLIP:
        return StoredCLIP(self.clip)

    def _compute(self, phrases: Sequence[str]) -> np.ndarray:
        length = self._stored.config.context_length
        for phrase in phrases:
            try:
                tokenize([template.replace("{}", phrase) for template in self.templates], length)
            except ValueError as error:
                raise ValueError(
                    f"the word '{phrase[:60]}' is too long: this CLIP reads {length} tokens, including "
                    "those of the template; shorten it"
                ) from error
        return text_embeddings(self._stored.text_tower, phrases, self.templates)
