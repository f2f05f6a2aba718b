"""jseg's own files: exact round trip, readable as safetensors, and nothing lost when writing fails."""

import errno
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jseg.checkpoints import load_arrays, read_tensors, save_arrays

ARRAYS = {
    "weight": np.arange(6, dtype=np.float32).reshape(2, 3).T,  # not contiguous in memory
    "half": np.array([1.5, -2.0, np.inf], np.float16),
    "double": np.array([[np.pi]]),
    "bytes": np.array([0, 255], np.uint8),
    "flags": np.array([True, False, True]),
    "step": np.array(7, np.int64),
    "empty": np.zeros((0, 4), np.float32),
    "small": np.array([-1], np.int8),
    "short": np.array([-2], np.int16),
    "int": np.array([-3], np.int32),
}


def test_round_trip_keeps_values_types_shapes_and_metadata(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_arrays(path, ARRAYS, {"source": "Prüfung"})
    arrays, metadata = load_arrays(path)
    assert metadata == {"source": "Prüfung"}
    assert set(arrays) == set(ARRAYS)
    for name, expected in ARRAYS.items():
        assert arrays[name].dtype == expected.dtype and arrays[name].shape == expected.shape, name
        np.testing.assert_array_equal(arrays[name], expected)
        assert arrays[name].flags.writeable and arrays[name].flags.aligned
    assert [path.name for path in tmp_path.iterdir()] == ["weights.safetensors"]


def test_file_is_safetensors_byte_by_byte(tmp_path: Path) -> None:
    """By hand: header length, JSON padded to 8, float64 before float32, data back to back."""
    path = tmp_path / "two"
    save_arrays(path, {"a": np.array([1.0], np.float32), "b": np.array([2.0])}, {})
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    assert length % 8 == 0
    header = json.loads(content[8 : 8 + length])
    digest = header.pop("__metadata__")["jseg_sha256"]
    blank = content.replace(digest.encode(), b"0" * 64)
    assert hashlib.sha256(blank).hexdigest() == digest
    assert header == {
        "b": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]},
        "a": {"dtype": "F32", "shape": [1], "data_offsets": [8, 12]},
    }
    assert content[8 + length :] == np.array([2.0]).tobytes() + np.array([1.0], np.float32).tobytes()


def test_one_changed_bit_anywhere_is_noticed(tmp_path: Path) -> None:
    """Including values, names and metadata, although the file remains valid in its format."""
    path = tmp_path / "weights.safetensors"
    note = f'"jseg_sha256":"{"0" * 64}"'  # text that looks like the checksum itself
    save_arrays(path, ARRAYS, {"a_note": note, "config": "lr = 0.1"})
    assert load_arrays(path)[1] == {"a_note": note, "config": "lr = 0.1"}
    content = path.read_bytes()
    for position in (content.index(b"lr = 0.1") + 5, content.index(b'"half"') + 1, len(content) - 1):
        changed = bytearray(content)
        changed[position] ^= 1
        path.write_bytes(changed)
        with pytest.raises(ValueError, match="weights.safetensors.*SHA-256"):
            load_arrays(path)


def test_equal_input_gives_an_equal_file(tmp_path: Path) -> None:
    save_arrays(tmp_path / "1", ARRAYS, {"a": "1", "b": "2"})
    save_arrays(tmp_path / "2", dict(reversed(list(ARRAYS.items()))), {"b": "2", "a": "1"})
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()


def test_big_endian_input_is_stored_little_endian(tmp_path: Path) -> None:
    save_arrays(tmp_path / "file", {"x": np.arange(4, dtype=">i4")}, {})
    np.testing.assert_array_equal(load_arrays(tmp_path / "file")[0]["x"], np.arange(4))


def test_full_disk_keeps_the_previous_file_and_names_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoint"
    save_arrays(path, {"x": np.zeros(3, np.float32)}, {"iteration": "1"})

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="checkpoint") as failure:
        save_arrays(path, {"x": np.ones(3, np.float32)}, {"iteration": "2"})
    assert failure.value.errno == errno.ENOSPC
    assert load_arrays(path)[1] == {"iteration": "1"}
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_missing_folder_is_an_os_error_naming_the_path(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        save_arrays(tmp_path / "nowhere" / "file", {"x": np.zeros(1, np.float32)}, {})


@pytest.mark.parametrize(
    "arrays, metadata, message",
    [
        ({"x": np.zeros(2, complex)}, {}, "'x'.*complex128"),
        ({"x": np.array(["text"])}, {}, "'x'"),
        ({"x": np.zeros(2)}, {"iteration": 3}, "'iteration'"),
        ({"__metadata__": np.zeros(2)}, {}, "__metadata__"),
    ],
)
def test_what_cannot_be_stored_is_refused_before_writing(
    tmp_path: Path, arrays: Any, metadata: Any, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        save_arrays(tmp_path / "file", arrays, metadata)
    assert [path.name for path in tmp_path.iterdir()] == []


def test_reading_is_lazy_and_views_the_file(tmp_path: Path) -> None:
    save_arrays(tmp_path / "file", ARRAYS, {})
    tensors = read_tensors(tmp_path / "file")
    assert tensors.entry("weight").shape == (3, 2)
    assert not tensors["weight"].flags.owndata and not tensors["weight"].flags.writeable
    assert tensors.parameter_count() == sum(array.size for array in ARRAYS.values())
