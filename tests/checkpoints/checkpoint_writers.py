"""Small writers of every weight format jseg reads, with numpy and the standard library only.

They are written from the formats, independently of the readers, and can also produce what no sane program
writes (shared storages, odd strides, forbidden globals), so that the tests and the fuzzer have something to
read.
"""

import hashlib
import io
import json
import pickle
import struct
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

STORAGE_NAMES = {
    "float16": "HalfStorage",
    "float32": "FloatStorage",
    "float64": "DoubleStorage",
    "int8": "CharStorage",
    "uint8": "ByteStorage",
    "int16": "ShortStorage",
    "int32": "IntStorage",
    "int64": "LongStorage",
    "bool": "BoolStorage",
}
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C


@dataclass
class Global:
    """A name that the pickle refers to."""

    module: str
    name: str


@dataclass
class Call:
    """REDUCE: a global called with arguments; `state`, if any, is applied with BUILD."""

    function: Global
    arguments: tuple[Any, ...]
    state: Any = None


@dataclass
class Module:
    """A TorchScript module: a class of the archive with attributes."""

    type_name: str
    attributes: Mapping[str, Any]


@dataclass
class Storage:
    """Bytes of a storage; `kind` is PyTorch's storage class."""

    content: bytes
    kind: str
    count: int
    view: tuple[str, int, int] | None = None


@dataclass
class Tensor:
    """A strided view of a storage."""

    storage: Storage
    shape: Sequence[int]
    strides: Sequence[int]
    offset: int = 0


def tensor(array: np.ndarray) -> Tensor:
    """A contiguous tensor with a storage of its own."""
    array = np.asarray(array)
    storage = Storage(array.tobytes(), STORAGE_NAMES[array.dtype.name], array.size)
    return Tensor(
        storage,
        array.shape,
        [stride // array.itemsize for stride in np.empty(array.shape, array.dtype).strides],
    )


def bfloat16_tensor(values: np.ndarray) -> Tensor:
    """float32 values (exactly representable) as a bfloat16 tensor."""
    bits = (np.asarray(values, np.float32).view(np.uint32) >> 16).astype("<u2")
    strides = [stride // 2 for stride in np.empty(bits.shape, np.uint16).strides]
    return Tensor(Storage(bits.tobytes(), "BFloat16Storage", bits.size), bits.shape, strides)


@dataclass
class TorchPickler:
    """Writes protocol 2 by hand, and collects storages under separate keys."""

    storages: list[Storage] = field(default_factory=list)
    out: io.BytesIO = field(default_factory=io.BytesIO)

    def dumps(self, value: Any) -> bytes:
        self.out = io.BytesIO()
        self.out.write(b"\x80\x02")
        self._save(value)
        self.out.write(b".")
        return self.out.getvalue()

    def key(self, storage: Storage) -> str:
        for index, known in enumerate(self.storages):
            if known is storage:
                return str(index)
        self.storages.append(storage)
        return str(len(self.storages) - 1)

    def _save(self, value: Any) -> None:
        write = self.out.write
        if value is None or isinstance(value, bool):
            write({None: b"N", True: b"\x88", False: b"\x89"}[value])
        elif isinstance(value, int):
            content = value.to_bytes(16, "little", signed=True)
            write(b"J" + struct.pack("<i", value) if -(2**31) <= value < 2**31 else b"\x8a\x10" + content)
        elif isinstance(value, float):
            write(b"G" + struct.pack(">d", value))
        elif isinstance(value, str):
            content = value.encode()
            write(b"X" + struct.pack("<I", len(content)) + content)
        elif isinstance(value, (list, tuple)):
            write(b"](" if isinstance(value, list) else b"(")
            for item in value:
                self._save(item)
            write(b"e" if isinstance(value, list) else b"t")
        elif isinstance(value, dict):
            write(b"}(")
            for name, item in value.items():
                self._save(name)
                self._save(item)
            write(b"u")
        else:
            self._save_object(value)

    def _save_object(self, value: Any) -> None:
        write = self.out.write
        if isinstance(value, Global):
            write(f"c{value.module}\n{value.name}\n".encode())
        elif isinstance(value, Call):
            self._save(value.function)
            self._save(value.arguments)
            write(b"R")
            if value.state is not None:
                self._save(value.state)
                write(b"b")
        elif isinstance(value, Module):
            self._save(Global(*value.type_name.rsplit(".", 1)))
            write(b")\x81")
            self._save(dict(value.attributes))
            write(b"b")
        elif isinstance(value, Storage):
            extra = () if value.view is None else (value.view,)
            self._save(("storage", Global("torch", value.kind), self.key(value), "cpu", value.count, *extra))
            write(b"Q")
        elif isinstance(value, Tensor):
            hooks = Call(Global("collections", "OrderedDict"), ())
            self._save(
                Call(
                    Global("torch._utils", "_rebuild_tensor_v2"),
                    (value.storage, value.offset, tuple(value.shape), tuple(value.strides), False, hooks),
                )
            )
        else:
            raise TypeError(f"this writer cannot pickle {type(value)}")


def torch_archive_bytes(
    root: Any,
    folder: str = "archive",
    script: bool = False,
    pickle_bytes: bytes | None = None,
    storages: Sequence[Storage] = (),
) -> bytes:
    """A torch.save zip, or a TorchScript one; `pickle_bytes` with
    `storages` replaces the description of the objects."""
    pickler = TorchPickler()
    content = pickler.dumps(root) if pickle_bytes is None else pickle_bytes
    entries: dict[str, bytes] = {"data.pkl": content, "byteorder": b"little"}
    for index, storage in enumerate(pickler.storages or storages):
        entries[f"data/{index}"] = storage.content
    if script:
        entries["constants.pkl"] = b"\x80\x02)."
        entries["code/__torch__/model.py"] = b"class CLIP(Module):\n  pass\n"
    entries["version"] = b"3\n"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for name, data in entries.items():
            archive.writestr(zipfile.ZipInfo(f"{folder}/{name}"), data)
    return out.getvalue()


def torch_legacy_bytes(root: Any) -> bytes:
    """torch.save before 1.6: magic, version, system, objects, keys, storages."""
    pickler = TorchPickler()
    content = pickler.dumps(root)
    magic = b"\x80\x02\x8a\x0a" + LEGACY_MAGIC.to_bytes(10, "little") + b"."
    system = {
        "protocol_version": 1001,
        "little_endian": True,
        "type_sizes": {"short": 2, "int": 4, "long": 4},
    }
    parts = [
        magic,
        pickler_dumps(1001),
        pickler_dumps(system),
        content,
        pickler_dumps([str(index) for index in range(len(pickler.storages))]),
    ]
    for storage in pickler.storages:
        parts += [struct.pack("<q", storage.count), storage.content]
    return b"".join(parts)


def pickler_dumps(value: Any) -> bytes:
    """A plain value as a protocol 2 pickle."""
    return TorchPickler().dumps(value)


def jittor_bytes(root: Any, protocol: int = 4, checksum: bool = True) -> bytes:
    """What jittor.save writes: a pickle of numpy arrays, then SHA-1 and a magic word."""
    content = pickle.dumps(root, protocol)
    return content + hashlib.sha1(content).digest() + b"HCAJSLHD" if checksum else content


def safetensors_bytes(
    arrays: Mapping[str, np.ndarray],
    metadata: Mapping[str, str] | None = None,
    header: dict[str, Any] | bytes | None = None,
) -> bytes:
    """A safetensors file; `header` (dictionary or raw text) replaces the right one."""
    codes = {
        "float16": "F16",
        "float32": "F32",
        "float64": "F64",
        "int8": "I8",
        "int16": "I16",
        "int32": "I32",
        "int64": "I64",
        "uint8": "U8",
        "bool": "BOOL",
    }
    entries: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    data = b""
    for name, array in arrays.items():
        content = np.ascontiguousarray(array).tobytes()
        entries[name] = {
            "dtype": codes[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [len(data), len(data) + len(content)],
        }
        data += content
    text = header if isinstance(header, bytes) else json.dumps(entries if header is None else header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def npz_bytes(arrays: Mapping[str, np.ndarray], compressed: bool = True) -> bytes:
    """What numpy.savez writes."""
    out = io.BytesIO()
    (np.savez_compressed if compressed else np.savez)(out, **arrays)
    return out.getvalue()


def write(path: Path, content: bytes) -> Path:
    """Writes `content` and returns `path`."""
    path.write_bytes(content)
    return path
