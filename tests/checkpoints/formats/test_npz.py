"""NumPy archives (`.npz`): written and read back, and invalid untrusted files."""

import io
import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from jseg.checkpoints import TensorMap, read_tensors, save_npz

SECRET = "owned"


class Evil:
    """Creates a folder when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (os.fspath(self.path),)


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def archive(tmp_path: Path, members: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    path = tmp_path / "suspect.npz"
    with zipfile.ZipFile(path, "w", method) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return path


def assert_refused(path: Path, *words: str) -> None:
    """Opening and reading fails with one ValueError that names the file and holds all `words`."""
    with pytest.raises(ValueError) as failure:
        tensors = read_tensors(path)
        for name in tensors:
            tensors[name]
    message = str(failure.value).replace(os.fspath(path.parent), "")  # the folder's name holds the test's
    for word in (path.name, *words):
        assert word in message, message


@pytest.mark.parametrize(
    "dtype", ["float16", "float32", "float64", "int8", "uint8", "int32", "int64", "bool", ">f4"]
)
def test_round_trip(tmp_path: Path, dtype: str) -> None:
    """Every shape from a scalar to four dimensions, an empty one, and a transposed (Fortran) one."""
    rng = np.random.default_rng(0)
    shapes = {"scalar": (), "a.b.weight": (3, 4), "four": (2, 1, 3, 2), "empty": (0, 5)}
    arrays = {name: (rng.random(shape) * 9).astype(dtype) for name, shape in shapes.items()}
    arrays["transposed"] = arrays["a.b.weight"].T
    save_npz(tmp_path / "weights.npz", arrays)
    tensors = read_tensors(tmp_path / "weights.npz")
    assert isinstance(tensors, TensorMap) and set(tensors) == set(arrays)
    for name, array in arrays.items():
        assert tensors.entry(name).shape == array.shape
        assert tensors.entry(name).dtype == tensors[name].dtype == np.dtype(dtype).newbyteorder("=")
        assert np.array_equal(tensors[name], array), name


def test_recognised_without_its_suffix_and_stored(tmp_path: Path) -> None:
    path = archive(tmp_path, {"x.npy": npy(np.arange(3))}, zipfile.ZIP_STORED).rename(
        tmp_path / "weights.bin"
    )
    assert read_tensors(path)["x"].tolist() == [0, 1, 2]


def test_saving_replaces_and_leaves_nothing_behind(tmp_path: Path) -> None:
    for value in (1, 2):
        save_npz(tmp_path / "weights.npz", {"x": np.float32([value])})
    assert read_tensors(tmp_path / "weights.npz")["x"] == [2]
    assert [path.name for path in tmp_path.iterdir()] == ["weights.npz"]


def test_an_interrupted_save_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "weights.npz"
    save_npz(path, {"x": np.float32([1])})

    def full_disk(file: Any, **arrays: np.ndarray) -> None:
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full_disk)
    with pytest.raises(OSError):
        save_npz(path, {"x": np.float32([2])})
    assert read_tensors(path)["x"] == [1]
    assert [path.name for path in tmp_path.iterdir()] == ["weights.npz"]


def test_pickled_members_are_never_opened(tmp_path: Path) -> None:
    """As numpy writes object arrays, and a bare pickle under an .npy name."""
    trap = tmp_path / SECRET
    assert_refused(archive(tmp_path, {"x.npy": npy(np.array([Evil(trap)], dtype=object))}), "'x.npy'")
    assert_refused(archive(tmp_path, {"x.npy": pickle.dumps(Evil(trap))}), "'x.npy'")
    assert not trap.exists()


@pytest.mark.parametrize(
    "array",
    [
        np.array(["text"]),
        np.array([1j]),
        np.zeros(2, [("a", "f4"), ("b", "i4")]),
        np.array(["2026-01-01"], "datetime64[D]"),
    ],
    ids=["text", "complex", "record", "date"],
)
def test_other_types_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    assert_refused(archive(tmp_path, {"x.npy": npy(array)}), "'x.npy'")


def test_headers_that_lie(tmp_path: Path) -> None:
    good = npy(np.zeros((2, 3), np.float32))
    for old, new in [
        (b"(2, 3)", b"(2, 4)"),
        (b"(2, 3)", b"(-2,3)"),
        (b"(2, 3)", b"(2, x)"),
        (b"<f4", b"<f8"),
        (b"{'descr'", b"{'descR'"),
        (b"\x93NUMPY", b"\x93NUMPX"),
        (b"\x93NUMPY\x01", b"\x93NUMPY\x07"),
        (b"\x76\x00{", b"\xff\xff{"),
    ]:
        assert old in good
        assert_refused(archive(tmp_path, {"x.npy": good.replace(old, new, 1)}), "'x.npy'")
    for content in (b"", good[:5], good[:20], good[:-1], good + b"\0"):
        assert_refused(archive(tmp_path, {"x.npy": content}), "'x.npy'")


def test_a_zip_bomb_is_refused_before_it_inflates(tmp_path: Path) -> None:
    path = archive(tmp_path, {"x.npy": npy(np.zeros(20_000_000, np.uint8))})
    assert path.stat().st_size < 100_000
    assert_refused(path, "'x.npy'", "bomb")


def test_other_damage(tmp_path: Path) -> None:
    """Path out of the archive, one member twice, cut short, a flipped bit in the data."""
    good = npy(np.arange(100, dtype=np.float32))
    assert_refused(archive(tmp_path, {"../x.npy": good}), "'../x.npy'")
    with pytest.warns(UserWarning, match="Duplicate"):
        path = archive(tmp_path, {"x.npy": good})
        with zipfile.ZipFile(path, "a") as file:
            file.writestr("x.npy", good)
    assert_refused(path, "'x.npy'")
    path = archive(tmp_path, {"x.npy": good})
    content = path.read_bytes()
    path.write_bytes(content[:-30])
    assert_refused(path)
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        content = bytearray(archive(tmp_path, {"x.npy": good}, method).read_bytes())
        content[len(content) // 2 if method == zipfile.ZIP_STORED else 100] ^= 4
        path.write_bytes(content)
        assert_refused(path, "'x.npy'")


def test_a_stranger_among_the_members(tmp_path: Path) -> None:
    assert_refused(archive(tmp_path, {"x.npy": npy(np.arange(3)), "readme.txt": b"hello"}))
