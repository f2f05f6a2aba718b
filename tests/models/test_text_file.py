"""Text embeddings from a file in the released format."""

import numpy as np
import pytest

from jseg.models.segmentors.text_file import normalized, read_text_embeddings

NAMES = ["cat", "dog", "playingfield"]


def write(path, values):
    np.save(path, values)
    return str(path)


def test_half_precision_rows_are_read_as_they_are_and_become_unit_vectors(tmp_path):
    values = np.random.default_rng(0).normal(size=(3, 4))
    values = (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float16)
    read = read_text_embeddings(write(tmp_path / "a.npy", values), NAMES, 4)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, values.astype(np.float32))
    assert np.abs(np.linalg.norm(read, axis=1) - 1).max() > 1e-5
    np.testing.assert_allclose(np.linalg.norm(normalized(read), axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(normalized(read), values, atol=1e-3)


@pytest.mark.parametrize(
    "values, message",
    [
        (np.ones((2, 4)), r"shape \(2, 4\).*\(3, 4\)"),
        (np.ones((3, 5)), r"shape \(3, 5\)"),
        (np.ones((3, 4), np.int32), "float"),
        (np.diag([1.0, np.nan, 1.0, 1.0])[:3], r"(?=.*\brow 1\b).*'dog'"),
        (np.diag([1.0, 1.0, 0.0, 1.0])[:3], r"(?=.*\brow 2\b).*'playingfield'"),
        (np.array([{"a": 1}], dtype=object), "pickle"),
    ],
)
def test_what_is_no_such_file_is_explained(tmp_path, values, message):
    with pytest.raises(ValueError, match=message) as error:
        read_text_embeddings(write(tmp_path / "a.npy", values), NAMES, 4)
    assert "a.npy" in str(error.value)


def test_missing_and_damaged_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"b\.npy"):
        read_text_embeddings(str(tmp_path / "b.npy"), NAMES, 4)
    (tmp_path / "c.npy").write_bytes(b"\x93NUMPY\x01\x00junk")
    with pytest.raises(ValueError, match=r"c\.npy"):
        read_text_embeddings(str(tmp_path / "c.npy"), NAMES, 4)
