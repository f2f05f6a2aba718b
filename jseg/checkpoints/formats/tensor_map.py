"""A lazy, read-only mapping from tensor names to NumPy arrays, which every reader of this package returns.

Opening a file only parses and checks its index. The values of a tensor are read when its name is looked up.
Where the format stores plain bytes, the file is memory-mapped, so that reading one tensor of a 1 GB file
costs only that tensor.
"""

import mmap
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np

from jseg.files import PathLike

BFLOAT16: Final = "bfloat16"
"""Storage type without a NumPy equivalent: two bytes, the upper half of a float32. Read as float32."""

StorageType = np.dtype | Literal["bfloat16"]
"""Data type of stored tensors."""

MAX_DIMENSIONS = 32
"""NumPy's limit. A shape with more dimensions can only come from a damaged file."""


_FREE_OBJECTS = 200_000
_BYTES_PER_OBJECT = 64


def object_limit(file_size: int) -> int:
    """Returns how many small objects (pickle steps, JSON values, nested values) a file of `file_size` bytes
    may have.

    Without a limit, a file of one-byte instructions could expand to 50 times its size in Python objects. A
    ViT-L/14 checkpoint with optimizer state has about 100,000 objects. At roughly 100 bytes per object, the
    limit allows 20 MB plus less than the size of the file.
    """
    return _FREE_OBJECTS + file_size // _BYTES_PER_OBJECT


@dataclass(frozen=True)
class TensorEntry:
    """Shape and type of a stored tensor, and the function that reads its values."""

    shape: tuple[int, ...]
    dtype: np.dtype
    fetch: Callable[[], np.ndarray]


class TensorMap(Mapping[str, np.ndarray]):
    """Names -> arrays, read on access. `metadata` contains the rest of the file (strings, numbers).

    Arrays may be read-only views of the mapped file. Copy one before writing to it.
    """

    def __init__(
        self,
        path: PathLike,
        entries: Mapping[str, TensorEntry],
        metadata: Mapping[str, Any] | None = None,
        kind: str = "",
    ) -> None:
        self.path = os.fspath(path)
        self.kind = kind
        self.metadata: dict[str, Any] = dict(metadata or {})
        self._entries: dict[str, TensorEntry] = dict(entries)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._entries[name].fetch()

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __repr__(self) -> str:
        return f"TensorMap({self.path!r}, kind={self.kind!r}, {len(self)} tensors)"

    def entry(self, name: str) -> TensorEntry:
        """Returns shape and type of `name` without reading its values."""
        return self._entries[name]

    def parameter_count(self) -> int:
        """Returns the number of values in all tensors without reading them."""
        return sum(element_count(entry.shape) for entry in self._entries.values())


def file_error(path: PathLike, problem: str, entry: str | None = None) -> ValueError:
    """Creates an error about a weight file in the common form: file, entry, problem.

    Names are formatted with `ascii`, since a damaged file may contain text that a terminal cannot print.
    """
    where = f"{os.fspath(path)}" if entry is None else f"{os.fspath(path)}: entry {ascii(entry)[:200]}"
    return ValueError(f"{where}: {problem}")


def check_finite(path: PathLike, state: Mapping[str, np.ndarray]) -> None:
    """Refuses values that are not finite in float32, which would turn every result into NaN.

    Raises:
        ValueError: if there are any. The message names the first such parameter.
    """
    for name, array in state.items():
        if not _all_finite(array):
            raise file_error(
                path,
                "contains non-finite values; the file is damaged or its training diverged, use another",
                name,
            )


def _all_finite(array: np.ndarray) -> bool:
    """Whether no value becomes infinite or NaN in float32."""
    if array.dtype == np.float16:
        # NumPy has no fast path for float16: an exponent of ones only means infinite or NaN.
        exponent = np.uint16(0x7C00)
        return bool(((array.view(np.uint16) & exponent) != exponent).all())
    with np.errstate(over="ignore"):
        return bool(np.isfinite(array.astype(np.float32, copy=False)).all())


def element_count(shape: Sequence[int]) -> int:
    """Product of `shape` in exact integers (NumPy's product can overflow)."""
    count = 1
    for size in shape:
        count *= size
    return count


def check_shape(path: PathLike, entry: str, shape: Any) -> tuple[int, ...]:
    """Returns `shape` as a tuple of non-negative integers, or raises `ValueError`."""
    if not isinstance(shape, (list, tuple)) or len(shape) > MAX_DIMENSIONS:
        raise file_error(
            path, f"the shape is not a list of at most {MAX_DIMENSIONS} sizes; the file is damaged", entry
        )
    for size in shape:
        if type(size) is not int or size < 0 or size >= 2**62:
            raise file_error(path, "the shape contains an invalid size; the file is damaged", entry)
    return tuple(shape)


def map_file(path: PathLike) -> np.ndarray:
    """Maps the whole file as a read-only uint8 array (an empty array for an empty file).

    Raises:
        FileNotFoundError: if there is no such file.
        OSError: if the path is a folder or cannot be read.
    """
    with Path(path).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            return np.zeros(0, np.uint8)
        # Uses mmap directly, because numpy.memmap changes the shared file position and keeps a subclass
        # through every view.
        return np.frombuffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)


def bfloat16_to_float32(bits: np.ndarray) -> np.ndarray:
    """Converts uint16 bit patterns of bfloat16 to float32."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def decode_bytes(data: np.ndarray, dtype: StorageType) -> np.ndarray:
    """Decodes little-endian bytes (uint8) to a flat array of `dtype`, without a copy if the alignment
    allows."""
    if dtype == BFLOAT16:
        return bfloat16_to_float32(decode_bytes(data, np.dtype("<u2")))
    if dtype == np.bool_:
        # As a bool, a byte other than 0 or 1 is undefined behaviour, so normalise.
        return data != 0
    flat = data.view(dtype.newbyteorder("<"))
    if flat.ctypes.data % dtype.itemsize or not flat.dtype.isnative:
        return flat.astype(dtype)
    return flat.view(dtype)
