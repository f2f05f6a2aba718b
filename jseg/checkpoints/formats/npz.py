"""NumPy's `.npz`, the compressed format of jseg's small weight files.

An `.npz` is a zip of `.npy` members (https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html),
stored or deflated. Pickled members are never read, and a member may not inflate to more than `MAX_INFLATION`
times the size of the file.
"""

import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np

from jseg.checkpoints.formats.pickle_values import NUMPY_TYPES, MemoryOrder, byte_order
from jseg.checkpoints.formats.tensor_map import TensorEntry, TensorMap, check_shape, element_count, file_error
from jseg.checkpoints.formats.zip_archive import ZipArchive
from jseg.files import PathLike, replacing

MAX_INFLATION = 64
"""Weights compress little, but a table of mostly zeros compresses 50 times. Deflate reaches 1000 in a zip
bomb."""

_SUFFIX = ".npy"
_MAGIC = b"\x93NUMPY"
_MAX_HEADER = 4096
_HEADER = re.compile(
    r"\{'descr': '([<>|=]?)(\w+)', 'fortran_order': (True|False), 'shape': \(([\d, ]*)\), \}\s*"
)


def save_npz(path: PathLike, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes `arrays` compressed, to a temporary file that is then renamed.

    Raises:
        OSError: if the folder cannot be created or is full. An existing file is unchanged.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, temporary.open("xb") as file:
        np.savez_compressed(file, **arrays)


def read_npz(archive: ZipArchive) -> TensorMap:
    """Opens the arrays of an `.npz`. Each is inflated when it is looked up.

    Raises:
        ValueError: if it is damaged, or a member is not a plain array. The message names file and entry.
    """
    entries: dict[str, TensorEntry] = {}
    limit = MAX_INFLATION * archive.file_size
    for member in archive.names():
        if not member.endswith(_SUFFIX):
            raise file_error(
                archive.path, "is not an .npy array; a file of NumPy arrays (.npz) was expected", member
            )
        if archive.size(member) > limit:
            raise file_error(
                archive.path,
                f"inflates to {archive.size(member)} bytes, more than {MAX_INFLATION} times "
                "the file (a zip bomb?); refused",
                member,
            )
        shape, dtype, order, start = _parse_header(archive, member)
        fetch = partial(_fetch, archive, member, shape, dtype, order, start)
        entries[member[: -len(_SUFFIX)]] = TensorEntry(shape, dtype.newbyteorder("="), fetch)
    return TensorMap(archive.path, entries, kind="NumPy archive")


def _parse_header(archive: ZipArchive, member: str) -> tuple[tuple[int, ...], np.dtype, MemoryOrder, int]:
    """Returns shape, type and memory order of an array, and the position of its first byte."""
    head = archive.inflate(member, _MAX_HEADER).tobytes()
    version = head[len(_MAGIC)] if head.startswith(_MAGIC) and len(head) > 12 else 0
    if version not in (1, 2, 3):
        raise file_error(archive.path, "does not start as an .npy array; the file is damaged", member)
    width = 2 if version == 1 else 4
    begin = len(_MAGIC) + 2 + width
    start = begin + int.from_bytes(head[begin - width : begin], "little")
    # A regular expression instead of NumPy's parser, so that nothing in the file reaches Python's compiler.
    found = _HEADER.fullmatch(head[begin:start].decode("latin-1")) if start <= _MAX_HEADER else None
    if found is None or found[2] not in NUMPY_TYPES:
        raise file_error(archive.path, "is not an array of numbers, or its header is damaged", member)
    sizes = [size.strip() for size in found[4].split(",") if size.strip()]
    if any(len(size) > 18 or not size.isdecimal() for size in sizes):
        raise file_error(archive.path, "has no valid shape; the file is damaged", member)
    shape = check_shape(archive.path, member, [int(size) for size in sizes])
    dtype = NUMPY_TYPES[found[2]].newbyteorder(byte_order(found[1]))
    if archive.size(member) - start != element_count(shape) * dtype.itemsize:
        raise file_error(
            archive.path,
            f"has {archive.size(member) - start} data bytes, but its shape and type need "
            f"{element_count(shape) * dtype.itemsize}; the file is damaged",
            member,
        )
    return shape, dtype, "F" if found[3] == "True" else "C", start


def _fetch(
    archive: ZipArchive,
    member: str,
    shape: tuple[int, ...],
    dtype: np.dtype,
    order: MemoryOrder,
    start: int,
) -> np.ndarray:
    content = archive.inflate(member)[start:]
    if content.size == 0:
        return np.zeros(shape, dtype.newbyteorder("="))
    return (
        np.frombuffer(content.tobytes(), dtype)
        .astype(dtype.newbyteorder("="), copy=False)
        .reshape(shape, order=order)
    )
