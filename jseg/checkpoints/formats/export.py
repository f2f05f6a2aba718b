"""Writes checkpoints for other programs: `torch.save` archives for PyTorch, pickles for Jittor.

Both are written atomically and contain {"meta": plain values, <wrapper>: name -> tensor}, as in the CLIP-RC
releases.
"""

import hashlib
import pickle
import struct
import zipfile
from collections.abc import Mapping
from typing import Any, BinaryIO

import numpy as np

from jseg.checkpoints.formats.jittor_pickle import TRAILER
from jseg.checkpoints.formats.tensor_map import file_error
from jseg.files import PathLike, replacing

_STORAGES: dict[str, bytes] = {
    "float16": b"HalfStorage",
    "float32": b"FloatStorage",
    "float64": b"DoubleStorage",
    "int8": b"CharStorage",
    "uint8": b"ByteStorage",
    "int16": b"ShortStorage",
    "int32": b"IntStorage",
    "int64": b"LongStorage",
    "bool": b"BoolStorage",
}
_FOLDER = "archive"
_ALIGNMENT = 64  # bytes, as in PyTorch, so that a mapped tensor can be read in place
_PADDING_FIELD = 0x4246  # "FB": the extra field that PyTorch uses for padding
_DATE = (1980, 1, 1, 0, 0, 0)  # constant, so that equal input gives an identical file


def save_torch(path: PathLike, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> None:
    """Writes `{"meta": metadata, "state_dict": arrays}` in the format of `torch.load`.

    Args:
        arrays: name -> array of a type supported by PyTorch.
        metadata: str -> str, number, bool, None, or lists and tuples of these.

    Raises:
        ValueError: if a type cannot be stored. OSError: if the file cannot be written.
    """
    for name, array in arrays.items():
        if array.dtype.name not in _STORAGES:
            raise file_error(path, f"PyTorch has no type {array.dtype}; convert it first", name)
    content = _torch_pickle(path, arrays, metadata)
    with (
        replacing(path) as temporary,
        temporary.open("xb") as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive,
    ):
        _add_entry(archive, file, "data.pkl", content)
        _add_entry(archive, file, "byteorder", b"little")
        for index, array in enumerate(arrays.values()):
            little = array.astype(array.dtype.newbyteorder("<"), copy=False)
            _add_entry(archive, file, f"data/{index}", little.tobytes())
        _add_entry(archive, file, "version", b"3\n")


def save_jittor(path: PathLike, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> None:
    """Writes `{"meta": metadata, "model": arrays}` in the format of `jittor.load`: protocol 4, SHA-1, magic
    word.

    Raises:
        ValueError: if arrays contain Python objects. OSError: if the file cannot be written.
    """
    for name, array in arrays.items():
        if array.dtype.name not in _STORAGES:
            raise file_error(path, f"type {array.dtype} is not a tensor type; convert it first", name)
    model = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in arrays.items()}
    content = pickle.dumps({"meta": dict(metadata), "model": model}, 4)
    with replacing(path) as temporary, temporary.open("xb") as file:
        file.writelines((content, hashlib.sha1(content).digest(), TRAILER))


def _add_entry(archive: zipfile.ZipFile, file: BinaryIO, name: str, content: bytes) -> None:
    """Writes an uncompressed entry whose data starts at a multiple of the alignment."""
    info = zipfile.ZipInfo(f"{_FOLDER}/{name}", _DATE)
    start = file.tell() + 30 + len(info.filename) + 4
    padding = -start % _ALIGNMENT
    info.extra = struct.pack("<HH", _PADDING_FIELD, padding) + b"Z" * padding
    archive.writestr(info, content)


def _torch_pickle(path: PathLike, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, Any]) -> bytes:
    """Returns the description of the objects as a pickle of protocol 2, without memo."""
    parts: list[bytes] = [b"\x80\x02}("]
    parts += [_plain(path, "meta"), _plain(path, dict(metadata)), _plain(path, "state_dict")]
    parts.append(b"ccollections\nOrderedDict\n)R(")
    for index, (name, array) in enumerate(arrays.items()):
        strides = tuple(int(np.prod(array.shape[axis + 1 :], dtype=np.int64)) for axis in range(array.ndim))
        parts += [_plain(path, name), b"ctorch._utils\n_rebuild_tensor_v2\n(("]
        parts += [_plain(path, "storage"), b"ctorch\n" + _STORAGES[array.dtype.name] + b"\n"]
        parts += [_plain(path, str(index)), _plain(path, "cpu"), _plain(path, array.size), b"tQ"]
        parts += [_plain(path, 0), _plain(path, array.shape), _plain(path, strides), b"\x89"]
        parts.append(b"ccollections\nOrderedDict\n)RtR")
    return b"".join(parts) + b"uu."


def _plain(path: PathLike, value: Any) -> bytes:
    """Returns a plain value as pickle opcodes."""
    if value is None or isinstance(value, bool):
        return {None: b"N", True: b"\x88", False: b"\x89"}[value]
    if isinstance(value, int):
        length = value.bit_length() // 8 + 1
        return b"\x8a" + bytes([length]) + value.to_bytes(length, "little", signed=True)
    if isinstance(value, float):
        return b"G" + struct.pack(">d", value)
    if isinstance(value, str):
        text = value.encode("utf-8")
        return b"X" + struct.pack("<I", len(text)) + text
    opening: dict[type, tuple[bytes, bytes]] = {list: (b"](", b"e"), tuple: (b"(", b"t"), dict: (b"}(", b"u")}
    if type(value) not in opening:
        raise file_error(
            path, f"metadata of type {type(value).__name__} cannot be stored; use text or numbers"
        )
    items = [part for pair in value.items() for part in pair] if isinstance(value, dict) else value
    begin, end = opening[type(value)]
    return begin + b"".join(_plain(path, item) for item in items) + end
