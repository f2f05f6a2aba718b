"""Caches text embeddings of class names on disk, so that the frozen text encoder runs once per vocabulary."""

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from jseg.files import expanded, file_sha256, replacing
from jseg.models.clip.model import StoredCLIP
from jseg.models.clip.zero_shot import text_embeddings

CACHE_VARIABLE = "JSEG_CACHE"


def cache_folder() -> Path:
    """`$JSEG_CACHE/text_embeddings`, by default `~/.cache/jseg/text_embeddings`."""
    root = os.environ.get(CACHE_VARIABLE)
    return (expanded(root) if root else Path.home() / ".cache" / "jseg") / "text_embeddings"


def cached_embeddings(
    weights_hash: str, class_names: Sequence[str], templates: Sequence[str], compute: Callable[[], np.ndarray]
) -> np.ndarray:
    """Embeddings from the cache, or computed and stored.

    Args:
        weights_hash: identifies the CLIP weights.
        class_names: C class words.
        templates: prompt templates.
        compute: returns the (C, d) embeddings.

    Returns:
        (C, d) float32. An unreadable or damaged entry is computed again. If the folder is not writable, the
        embeddings are computed each time.
    """
    words = "\0".join([weights_hash, "\1".join(class_names), "\1".join(templates)])
    path = cache_folder() / (hashlib.sha256(words.encode("utf-8")).hexdigest() + ".npy")
    embeddings = _read(path, len(class_names))
    if embeddings is None:
        embeddings = np.asarray(compute(), dtype=np.float32)
        _write(path, embeddings)
    return embeddings


def class_embeddings(clip: StoredCLIP, class_names: Sequence[str], templates: Sequence[str]) -> np.ndarray:
    """(C, d) embeddings of class words by a CLIP, through the cache."""
    if not class_names:  # a model for words that are given later
        return np.zeros((0, clip.config.embed_dim), np.float32)
    identity = clip.config.identity(file_sha256(clip.path))
    return cached_embeddings(
        identity, class_names, templates, lambda: text_embeddings(clip.text_tower, class_names, templates)
    )


def _read(path: Path, num_classes: int) -> np.ndarray | None:
    try:
        embeddings = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    whole = (
        isinstance(embeddings, np.ndarray)
        and embeddings.dtype == np.float32
        and embeddings.ndim == 2
        and len(embeddings) == num_classes
        and bool(np.isfinite(embeddings).all())
        and bool(np.allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-3))
    )
    return embeddings if whole else None


def _write(path: Path, embeddings: np.ndarray) -> None:
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, temporary.open("xb") as file:
            np.save(file, embeddings)
