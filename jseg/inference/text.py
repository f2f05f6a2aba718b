"""Encodes words with the text tower of a CLIP, which is loaded when the first uncached word is requested."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from jseg.files import PathLike, file_sha256
from jseg.models.clip import ClassWordError, StoredCLIP, text_embeddings
from jseg.models.clip.templates import get_templates
from jseg.models.segmentors.text_cache import cached_embeddings

_KEPT = 4096  # phrases in memory: 8 MB with 512 values each


class TextEncoder:
    """Embeddings of phrases, cached in memory and on disk.

    Args:
        clip: file of CLIP weights.
        templates: prompt templates, a name or a list with `{}`.

    Attributes:
        on_disk: whether to use the cache on disk. Servers turn it off, since the words of their users would
            fill the disk.
    """

    def __init__(self, clip: PathLike, templates: str | Sequence[str]) -> None:
        self.clip, self.templates = str(clip), get_templates(templates)
        self.on_disk = True
        self._known: dict[str, np.ndarray] = {}

    def __call__(self, phrases: Sequence[str]) -> np.ndarray:
        """(n, d) float32, rows of length 1.

        Raises:
            ValueError: if a phrase is too long for this CLIP. The message names it.
        """
        new = [phrase for phrase in dict.fromkeys(phrases) if phrase not in self._known]
        if new:
            if len(self._known) + len(new) > _KEPT:
                self._known.clear()
                new = list(dict.fromkeys(phrases))
            self._known.update(zip(new, self._embed(new)))
        return np.stack([self._known[phrase] for phrase in phrases])

    def _embed(self, phrases: Sequence[str]) -> np.ndarray:
        if not self.on_disk:
            return self._compute(phrases)
        identity = self._stored.config.identity(file_sha256(self.clip))
        return cached_embeddings(identity, phrases, self.templates, lambda: self._compute(phrases))

    @cached_property
    def _stored(self) -> StoredCLIP:
        return StoredCLIP(self.clip)

    def _compute(self, phrases: Sequence[str]) -> np.ndarray:
        try:
            return text_embeddings(self._stored.text_tower, phrases, self.templates)
        except ClassWordError as error:
            length = self._stored.config.context_length
            raise ValueError(
                f"the word '{error.word[:60]}' is too long: this CLIP reads {length} tokens, including "
                "those of the template; shorten it"
            ) from error
