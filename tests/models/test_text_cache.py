"""The cache of text embeddings."""

import numpy as np
import pytest

from jseg.models.segmentors.text_cache import cache_folder, cached_embeddings

NAMES, TEMPLATES = ["cat", "dog"], ["a photo of a {}"]


@pytest.fixture
def compute(tmp_path, monkeypatch):
    """Counts its calls. The cache is in a temporary folder."""
    monkeypatch.setenv("JSEG_CACHE", str(tmp_path / "cache"))

    def run():
        run.calls += 1
        return np.eye(2, 3, dtype=np.float32)

    run.calls = 0
    return run


def test_second_call_reads_the_file(compute):
    first = cached_embeddings("w", NAMES, TEMPLATES, compute)
    second = cached_embeddings("w", NAMES, TEMPLATES, compute)
    assert compute.calls == 1 and np.array_equal(first, second)
    assert [path.suffix for path in cache_folder().iterdir()] == [".npy"]


def test_key_holds_weights_words_and_templates(compute):
    for arguments in (
        ("w", NAMES, TEMPLATES),
        ("v", NAMES, TEMPLATES),
        ("w", ["cat", "cow"], TEMPLATES),
        ("w", NAMES, ["{}"]),
        ("w", ["dog", "cat"], TEMPLATES),
    ):
        cached_embeddings(*arguments, compute)
    assert compute.calls == 5


@pytest.mark.parametrize("damage", [b"", b"junk", "cut", "nan"])
def test_damaged_entries_are_computed_again(compute, damage):
    cached_embeddings("w", NAMES, TEMPLATES, compute)
    (path,) = cache_folder().iterdir()
    if damage == "cut":
        damage = path.read_bytes()[:-4]
    if damage == "nan":
        np.save(path, np.full((2, 3), np.nan, np.float32))
    else:
        path.write_bytes(damage)
    assert np.array_equal(cached_embeddings("w", NAMES, TEMPLATES, compute), np.eye(2, 3))
    assert compute.calls == 2
    cached_embeddings("w", NAMES, TEMPLATES, compute)
    assert compute.calls == 2


def test_a_cache_that_cannot_be_written_does_no_harm(compute, tmp_path):
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert cached_embeddings("w", NAMES, TEMPLATES, compute).shape == (2, 3)
    assert compute.calls == 1
