"""jseg's own weight files: safetensors, written atomically.

If writing fails, for example because the disk is full, an existing file of that name is unchanged. The
metadata contains the SHA-256 of the file, computed with zeros in place of its own digits. `load_arrays`
refuses a file in which any bit has changed.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping

import numpy as np

from jseg.checkpoints.formats.safetensors import DTYPES, METADATA_KEY, read_safetensors
from jseg.checkpoints.formats.tensor_map import BFLOAT16, file_error, map_file
from jseg.files import PathLike, replacing

_WRITTEN_AS: dict[np.dtype, str] = {
    dtype: code
    for code, dtype in DTYPES.items()
    if dtype != BFLOAT16 and code in ("F64", "F32", "F16", "I64", "I32", "I16", "I8", "U8", "BOOL")
}
CHECKSUM_KEY = "jseg_sha256"
_NO_DIGEST = "0" * 64


def _little_endian(path: PathLike, name: str, array: np.ndarray) -> tuple[np.ndarray, str]:
    """Returns `array` with its safetensors type code. Raises `ValueError` if the format does not support
    it."""
    array = np.asarray(array)
    code = _WRITTEN_AS.get(array.dtype.newbyteorder("="))
    if not isinstance(name, str) or name == METADATA_KEY:
        raise file_error(path, f"{name!r} is not a valid tensor name; use another name")
    if code is None:
        accepted = ", ".join(dtype.name for dtype in _WRITTEN_AS)
        raise file_error(path, f"type {array.dtype} cannot be saved; convert it to one of {accepted}", name)
    return array.astype(array.dtype.newbyteorder("<"), copy=False), code


def save_arrays(path: PathLike, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Writes `arrays` and `metadata` (str to str) to `path` in the safetensors format, atomically.

    Accepts float16/32/64, int8/16/32/64, uint8 and bool of any shape and memory order. The widest types come
    first, so that every tensor is aligned to its item size. Equal input gives an identical file.

    Raises:
        ValueError: if a type is not supported by the format, or metadata is not text.
        OSError: if the file cannot be written. An existing file of that name is unchanged.
    """
    for key, value in metadata.items():
        if not isinstance(key, str) or not isinstance(value, str):
            raise file_error(path, f"metadata {key!r} is not text; convert keys and values with str()")
    prepared = {name: _little_endian(path, name, array) for name, array in arrays.items()}
    order: list[str] = sorted(prepared, key=lambda name: (-prepared[name][0].dtype.itemsize, name))
    header: dict[str, object] = {METADATA_KEY: dict(sorted({**metadata, CHECKSUM_KEY: _NO_DIGEST}.items()))}
    position = 0
    for name in order:
        array, code = prepared[name]
        header[name] = {
            "dtype": code,
            "shape": list(array.shape),
            "data_offsets": [position, position + array.nbytes],
        }
        position += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)
    parts = [np.ascontiguousarray(prepared[name][0]).reshape(-1).view(np.uint8).data for name in order]
    text = text.replace(_checksum_entry(_NO_DIGEST), _checksum_entry(_digest(text, parts)), 1)
    with replacing(path) as temporary, temporary.open("xb") as file:
        file.writelines((len(text).to_bytes(8, "little"), text, *parts))


def load_arrays(path: PathLike) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Reads a file written by `save_arrays`, or any safetensors file. Returns copies of the arrays, and the
    metadata.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged. The message names file and entry.
    """
    tensors = read_safetensors(path)
    check_checksum(path)
    metadata = {key: value for key, value in tensors.metadata.items() if key != CHECKSUM_KEY}
    return {name: np.array(tensors[name]) for name in tensors}, metadata


def check_checksum(path: PathLike) -> None:
    """Compares a safetensors file with the checksum that it contains. Files of other programs have none and
    pass.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is damaged.
    """
    stored = read_safetensors(path).metadata.get(CHECKSUM_KEY)
    if stored is None:
        return
    content = map_file(path)
    start = 8 + int.from_bytes(content[:8].tobytes(), "little")
    text = content[8:start].tobytes().replace(_checksum_entry(stored), _checksum_entry(_NO_DIGEST), 1)
    if _digest(text, [content[start:].data]) != stored:
        raise file_error(path, "its contents do not match the SHA-256 stored inside; the file is damaged")


def _checksum_entry(digest: str) -> bytes:
    """The checksum as stored in the header. It cannot occur inside a string there, where quotes are
    escaped."""
    return f'"{CHECKSUM_KEY}":"{digest}"'.encode()


def _digest(text: bytes, parts: Iterable[memoryview]) -> str:
    digest = hashlib.sha256(len(text).to_bytes(8, "little"))
    digest.update(text)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()
