"""Damaged and malicious files end in one ValueError that names
the file and the entry; nothing is executed."""

import hashlib
import io
import json
import os
import pickle
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from checkpoint_writers import (
    Call,
    Global,
    Module,
    Storage,
    Tensor,
    jittor_bytes,
    safetensors_bytes,
    tensor,
    torch_archive_bytes,
    torch_legacy_bytes,
    write,
)

from jseg.checkpoints import read_tensors

X = np.arange(4, dtype=np.float32)


def refused(tmp_path: Path, content: bytes, *words: str) -> None:
    """Opening and reading `content` fails with a ValueError holding the file name and all `words`."""
    path = write(tmp_path / "suspect.bin", content)
    with pytest.raises(ValueError) as failure:
        tensors = read_tensors(path)
        for name in tensors:
            tensors[name]
    message = str(failure.value).replace(os.fspath(tmp_path), "")  # the folder's name holds the test's
    assert "suspect.bin" in message and len(message) < 1000
    for word in words:
        assert word in message, message


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (os.fspath(self.path),)


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_pickled_code_is_refused_by_name_and_not_run(tmp_path: Path, protocol: int) -> None:
    refused(tmp_path, pickle.dumps({"x": Evil(tmp_path / "owned")}, protocol), "pickle", "posix", "mkdir")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    "module, name",
    [
        ("os", "system"),
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("torch", "load"),
        ("numpy", "load"),
        ("torch.jit._pickle", "build_intlist"),
        ("__torch__.model", "CLIP"),
        ("torch.nn.modules.linear", "Linear"),
        ("collections", "OrderedDict.fromkeys"),
        ("torch._utils", "_rebuild_tensor_v2.__globals__"),
    ],
)
def test_other_globals_are_refused_in_torch_files(tmp_path: Path, module: str, name: str) -> None:
    root = {"x": tensor(X), "y": Call(Global(module, name), ("echo",))}
    refused(tmp_path, torch_archive_bytes(root), "data.pkl", module, name)
    refused(tmp_path, torch_legacy_bytes(root), "objects", module, name)


def test_markers_cannot_be_called(tmp_path: Path) -> None:
    refused(tmp_path, torch_archive_bytes({"x": Call(Global("torch", "FloatStorage"), (3,))}), "FloatStorage")
    refused(tmp_path, torch_archive_bytes({"x": Call(Global("builtins", "list"), ((1,),))}), "builtins.list")


def test_object_arrays_are_refused(tmp_path: Path) -> None:
    refused(tmp_path, pickle.dumps({"x": np.array([object, None], object)}, 4), "pickle")


@pytest.mark.parametrize(
    "shape, strides, offset",
    [
        ((5,), (1,), 0),
        ((2, 2), (4, 1), 0),
        ((4,), (1,), 1),
        ((2,), (2**61,), 0),
        ((2,), (-1,), 3),
        ((4,), (1,), -1),
        ((2**40, 2**40), (0, 0), 0),
        ((1,) * 40, (1,) * 40, 0),
        ((2.0,), (1,), 0),
        ((2, 2), (1,), 0),
    ],
)
@pytest.mark.parametrize("make", [torch_archive_bytes, torch_legacy_bytes])
def test_views_outside_their_storage_are_refused(
    tmp_path: Path, make: Any, shape: Any, strides: Any, offset: int
) -> None:
    storage = Storage(X.tobytes(), "FloatStorage", 4)
    refused(tmp_path, make({"x": Tensor(storage, shape, strides, offset)}))


@pytest.mark.parametrize(
    "kind, count",
    [
        ("DoubleStorage", 4),
        ("HalfStorage", 4),
        ("FloatStorage", 5),
        ("FloatStorage", -1),
        ("FloatStorage", 2**62),
        ("ComplexFloatStorage", 2),
    ],
)
@pytest.mark.parametrize("make", [torch_archive_bytes, torch_legacy_bytes])
def test_storage_size_must_match_its_type(tmp_path: Path, make: Any, kind: str, count: int) -> None:
    refused(tmp_path, make({"x": Tensor(Storage(X.tobytes(), kind, count), (1,), (1,))}))


def zip_bytes(entries: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return out.getvalue()


def test_zip_bomb_zip_slip_and_foreign_archives(tmp_path: Path) -> None:
    bomb = zip_bytes({"archive/data.pkl": b"\x80\x02" + b"N0" * 10_000_000}, zipfile.ZIP_DEFLATED)
    refused(tmp_path, bomb, "archive/data.pkl", "compressed")
    refused(
        tmp_path,
        zip_bytes({"archive/data.pkl": b"", "../../etc/passwd": b"x"}),
        "../../etc/passwd",
        "zip-slip",
    )
    refused(tmp_path, zip_bytes({"/data.pkl": b""}), "zip-slip")
    refused(tmp_path, zip_bytes({"readme.txt": b"hello"}), "data.pkl")


def test_npz_bombs_pickled_members_and_wrong_sizes(tmp_path: Path) -> None:
    header = b"{'descr': '|u1', 'fortran_order': False, 'shape': (50000000,), }\n"
    member = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    refused(tmp_path, zip_bytes({"x.npy": member + bytes(50_000_000)}, zipfile.ZIP_DEFLATED), "x.npy", "bomb")
    refused(tmp_path, zip_bytes({"x.npy": member + bytes(10)}), "x.npy", "50000000")
    refused(tmp_path, zip_bytes({"x.npy": member.replace(b"|u1", b"|O8") + bytes(10)}), "x.npy")
    refused(tmp_path, zip_bytes({"x.npy": b"\x93NUMPY\x01\x00\xff\xff" + b"(" * 70000}), "x.npy")
    lying = bytearray(zip_bytes({"x.npy": member + bytes(10)}, zipfile.ZIP_DEFLATED))
    start = bytes(lying).rfind(b"PK\x01\x02")
    lying[start + 24 : start + 28] = struct.pack("<I", 60)
    refused(tmp_path, bytes(lying), "x.npy")


def test_overlapping_zip_entries_are_refused(tmp_path: Path) -> None:
    """Two directory records that point at the same local header would let one byte count many times."""
    content = torch_archive_bytes({"a": tensor(X), "b": tensor(X + 1)})
    first, second = content.find(b"PK\x01\x02"), content.rfind(b"archive/data/1")
    start = content.rfind(b"PK\x01\x02", 0, second)
    record = bytearray(content)
    record[start + 42 : start + 46] = content[first + 42 : first + 46]
    refused(tmp_path, bytes(record), "archive/data/1")


def test_bit_flip_in_the_data_is_noticed_where_the_format_has_a_checksum(tmp_path: Path) -> None:
    archive = bytearray(torch_archive_bytes({"x": tensor(X)}))
    archive[bytes(archive).find(X.tobytes()) + 5] ^= 1
    refused(tmp_path, bytes(archive), "archive/data/0", "CRC-32")
    jittor = bytearray(jittor_bytes({"x": X}))
    jittor[bytes(jittor).find(X.tobytes()) + 5] ^= 1
    refused(tmp_path, bytes(jittor), "SHA-1")


@pytest.mark.parametrize(
    "content",
    [
        torch_archive_bytes({"x": tensor(X)}),
        torch_legacy_bytes({"x": tensor(X)}),
        jittor_bytes({"x": X}),
        jittor_bytes({"x": X}, checksum=False),
        safetensors_bytes({"x": X}),
    ],
    ids=["archive", "legacy", "jittor", "jittor-plain", "safetensors"],
)
def test_every_truncation_is_refused(tmp_path: Path, content: bytes) -> None:
    # A Jittor file without checksum is a file, too.
    complete = content.find(hashlib.sha1(content[:-28]).digest())
    for length in set(range(len(content))) - {complete}:
        refused(tmp_path, content[:length])


def entry(**changes: Any) -> dict[str, Any]:
    return {"x": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16], **changes}}


@pytest.mark.parametrize(
    "header, words",
    [
        (entry(dtype="F31"), ["'x'", "F31"]),
        (entry(dtype=["F32"]), ["'x'"]),
        (entry(shape=[5]), ["'x'", "16", "20"]),
        (entry(shape=[-4]), ["'x'"]),
        (entry(shape=[2**64]), ["'x'"]),
        (entry(shape=[True, 4]), ["'x'"]),
        (entry(shape=4), ["'x'"]),
        (entry(data_offsets=[0, 32], shape=[8]), ["'x'", "data_offsets", "[0, 32]"]),
        (entry(data_offsets=[16, 0]), ["'x'"]),
        (entry(data_offsets=[0, 10**400]), ["'x'", "data_offsets", "[0, 1000"]),
        (entry(data_offsets=[0, 16.0]), ["'x'"]),
        (entry(data_offsets=[0, 12], shape=[3]), ["4 bytes"]),
        (entry(data_offsets=[4, 16], shape=[3]), ["'x'"]),
        (entry(extra=1), ["'x'"]),
        ({"x": 3}, ["'x'"]),
        ({**entry(), "y": entry()["x"]}, ["'y'"]),
        ({**entry(), "__metadata__": {"a": 1}}, ["__metadata__"]),
        (b"[]", ["JSON"]),
        (b"{" * 1000, ["JSON"]),
        (b'{"x":' * 100_000, ["JSON"]),
        (b'{"a":' + b"9" * 9999 + b"}", ["JSON"]),
        (b'{"x":1,"x":2}', ["JSON"]),
        (b"\xff\xfe", ["JSON"]),
        (b'{"\\ud800": 3}', ["ud800"]),
    ],
)
def test_damaged_safetensors_headers(tmp_path: Path, header: Any, words: Any) -> None:
    content = safetensors_bytes({"x": X}, header=header)
    if isinstance(header, bytes) and not header.startswith(b"{"):
        path = write(tmp_path / "suspect.bin", content)
        with pytest.raises(ValueError, match="suspect.bin"):
            read_tensors(path)
    else:
        refused(tmp_path, content, *words)


def test_oversized_safetensors_header(tmp_path: Path) -> None:
    refused(tmp_path, struct.pack("<Q", 2**31) + b'{"x": 1}' + b" " * 100, "header", str(2**31))


@pytest.mark.parametrize("shard", ["../other", "/etc/passwd", "a/b", "..", "", "a\0b"])
def test_an_index_cannot_leave_its_folder(tmp_path: Path, shard: str) -> None:
    refused(tmp_path, json.dumps({"weight_map": {"x": shard}}).encode(), "'x'")


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "index.json", json.dumps({"weight_map": {"x": "part-2.safetensors"}}).encode())
    with pytest.raises(FileNotFoundError, match="part-2.safetensors"):
        read_tensors(path)


def test_small_pickles_that_unfold_without_end_are_refused(tmp_path: Path) -> None:
    lists = (
        b"\x80\x02]q\x000"
        + b"".join(  # each list holds the previous one twice
            b"](" + b"h" + bytes([i]) + b"h" + bytes([i]) + b"eq" + bytes([i + 1]) + b"0" for i in range(40)
        )
        + b"h\x28."
    )
    refused(tmp_path, lists, "nested")
    refused(tmp_path, b"\x80\x02" + b"](" * 50_000 + b"e" * 50_000 + b".", "nested")
    deep_key = b"\x80\x02}" + b"(" * 5000 + b"N" + b"t" * 5000 + b"Ns."
    refused(tmp_path, deep_key, "tuple", "key")


def test_pickle_cannot_reserve_memory_it_does_not_have(tmp_path: Path) -> None:
    refused(tmp_path, b"\x80\x04\x8e" + struct.pack("<Q", 2**60) + b".", "truncated")
    refused(tmp_path, b"\x80\x02Nr\xff\xff\xff\x7f.", "tensors")  # a memo index is only a number here
    copies = (
        b"\x80\x02X"
        + struct.pack("<I", 1000)
        + b"a" * 1000
        + b"q\x000c_codecs\nencode\nq\x010"
        + (b"h\x01h\x00X\x06\x00\x00\x00latin1\x86R0" * 100)
        + b"N."
    )
    refused(tmp_path, copies, "pickle", "bytes")


@pytest.mark.parametrize("filler", [b"]", b"\x8f", b"(", b"h\x00"])
def test_memory_of_a_pickle_of_tiny_instructions_is_bounded(tmp_path: Path, filler: bytes) -> None:
    """One byte an object is the worst ratio a pickle can reach; megabytes of it must not become hundreds."""
    content = b"\x80\x02]q\x00" + filler * (2**21 // len(filler)) + b"."
    tracemalloc.start()
    refused(tmp_path, content, "steps")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * len(content) + 32 * 2**20


def test_memory_of_a_safetensors_header_of_tiny_values_is_bounded(tmp_path: Path) -> None:
    tracemalloc.start()
    refused(tmp_path, safetensors_bytes({}, header=b'{"x":[' + b"[]," * 2**20 + b"[]]}"), "JSON")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * 3 * 2**20 + 32 * 2**20


def test_one_tensor_under_many_names_is_bounded(tmp_path: Path) -> None:
    """A list of 1000 references to a list of 1000 references to a tensor: a million names from 4 kB."""
    content = pickle.dumps(X, 2)[2:-1]
    pickled = (
        b"\x80\x02"
        + content
        + b"r\xf0\x00\x00\x000]("
        + b"j\xf0\x00\x00\x00" * 1000
        + b"er\xf1\x00\x00\x000]("
        + (b"j\xf1\x00\x00\x00" * 1000)
        + b"e."
    )
    refused(tmp_path, pickled, "nested")


def test_deep_modules_are_refused(tmp_path: Path) -> None:
    module: Any = Module("__torch__.M", {"x": tensor(X)})
    for _ in range(100):
        module = Module("__torch__.M", {"inner": module})
    refused(tmp_path, torch_archive_bytes(module, script=True), "nested")


@pytest.mark.parametrize(
    "content, word",
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs"),
        (b"<!DOCTYPE html>", "page"),
        (b"plain text", "TorchScript"),
        (b"{}", "weight_map"),
        (b"\x80\x04}.", "tensors"),
    ],
)
def test_files_that_are_something_else(tmp_path: Path, content: bytes, word: str) -> None:
    refused(tmp_path, content, word)


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nothing.pt"):
        read_tensors(tmp_path / "nothing.pt")
    with pytest.raises(ValueError, match="folder"):
        read_tensors(tmp_path)
