"""Files for PyTorch and Jittor, checked against the formats and read back."""

import hashlib
import io
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jseg.checkpoints import read_tensors, save_jittor, save_torch

ARRAYS = {
    "backbone.proj": np.arange(6, dtype=np.float32).reshape(2, 3).T,
    "half": np.ones((2, 1, 2), np.float16),
    "step": np.array(7),
    "flag": np.array([True, False]),
    "empty": np.zeros((0, 3), np.float32),
    "big": np.arange(3, dtype=">f8"),
}
METADATA = {
    "source": "jseg",
    "iterations": 40000,
    "negative": -129,
    "rate": 2e-4,
    "classes": ("a", "b"),
    "none": None,
}


@pytest.mark.parametrize("save", [save_torch, save_jittor])
def test_written_files_read_back(tmp_path: Path, save: Any) -> None:
    path = tmp_path / "file"
    save(path, ARRAYS, METADATA)
    tensors = read_tensors(path)
    assert list(tensors) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert tensors[name].shape == array.shape and tensors[name].dtype == array.dtype.newbyteorder("=")
        np.testing.assert_array_equal(tensors[name], array)
    assert tensors.metadata["meta.negative"] == -129 and tensors.metadata["meta.classes.1"] == "b"
    assert [item.name for item in tmp_path.iterdir()] == ["file"]


class StandardUnpickler(pickle.Unpickler):
    """Python's own unpickler with PyTorch's names replaced by
    tuples: our pickle must be valid for it, too."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        return (lambda *arguments: (name, *arguments)) if name == "_rebuild_tensor_v2" else f"{module}.{name}"

    def persistent_load(self, reference: Any) -> Any:
        return reference


def test_torch_archive_is_what_pytorch_expects(tmp_path: Path) -> None:
    path = tmp_path / "file.pth"
    save_torch(path, ARRAYS, METADATA)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.read("archive/version") == b"3\n" and archive.read("archive/byteorder") == b"little"
        root = StandardUnpickler(io.BytesIO(archive.read("archive/data.pkl"))).load()
        np.testing.assert_array_equal(
            np.frombuffer(archive.read("archive/data/0"), "<f4"), [0, 3, 1, 4, 2, 5]
        )
    assert root["meta"] == METADATA and isinstance(root["state_dict"], OrderedDict)
    storage = ("storage", "torch.FloatStorage", "0", "cpu", 6)
    expected = ("_rebuild_tensor_v2", storage, 0, (3, 2), (2, 1), False, OrderedDict())
    assert root["state_dict"]["backbone.proj"] == expected
    content = path.read_bytes()
    assert content.find(ARRAYS["half"].tobytes()) % 64 == 0


def test_jittor_file_carries_its_checksum(tmp_path: Path) -> None:
    save_jittor(tmp_path / "file.pkl", ARRAYS, {})
    content = (tmp_path / "file.pkl").read_bytes()
    assert content.endswith(hashlib.sha1(content[:-28]).digest() + b"HCAJSLHD")
    assert set(pickle.loads(content)) == {"meta", "model"}


@pytest.mark.parametrize("save", [save_torch, save_jittor])
def test_what_cannot_be_stored_is_refused(tmp_path: Path, save: Any) -> None:
    with pytest.raises(ValueError, match="file.*'x'"):
        save(tmp_path / "file", {"x": np.zeros(1, complex)}, {})
    with pytest.raises(ValueError, match="bytes"):
        save_torch(tmp_path / "file", {}, {"x": b"bytes"})
    assert list(tmp_path.iterdir()) == []
