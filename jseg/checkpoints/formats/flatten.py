"""Flattens the object in a checkpoint to tensor names.

Training frameworks wrap the weights: {"state_dict": ...} (mmcv, Lightning), {"model": ...} (JSeg, timm). The
wrapper is removed. Tensors outside it (optimizer state) are dropped, and plain values outside it are kept as
metadata.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from jseg.checkpoints.formats.pickle_values import PickledArray, Record
from jseg.checkpoints.formats.tensor_map import TensorEntry, TensorMap, file_error, object_limit
from jseg.checkpoints.formats.torch_values import StoredTensor
from jseg.files import PathLike

WRAPPER_KEYS = ("state_dict", "model_state_dict", "model", "module", "network", "net", "params", "weights")
"""Keys under which frameworks store the weights, in order of lookup."""

MAX_DEPTH = 64
"""Modules are nested about ten deep."""

MAX_NAME = 400
"""Largest number of characters in a tensor name."""


def _is_tensor(value: Any) -> bool:
    return isinstance(value, (StoredTensor, PickledArray, np.ndarray))


def _children(value: Any) -> Iterator[tuple[str, Any]] | None:
    if isinstance(value, dict):
        return ((str(key), child) for key, child in value.items())
    if isinstance(value, Record):
        return iter(value.attributes.items())
    if isinstance(value, (list, tuple)):
        return ((str(index), child) for index, child in enumerate(value))
    return None


class _Walk:
    """Depth-first walk over all leaves, with bounded work: a pickle can refer to one list many times, so that
    a few bytes would expand without limit."""

    def __init__(self, path: PathLike, file_size: int) -> None:
        self._path = path
        self._left = object_limit(file_size)

    def leaves(self, value: Any, prefix: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
        self._left -= 1
        if self._left < 0:
            raise file_error(
                self._path, "more nested values than a file of this size can need; refused", prefix
            )
        if depth > MAX_DEPTH:
            raise file_error(self._path, f"values are nested more than {MAX_DEPTH} deep; refused", prefix)
        if len(prefix) > MAX_NAME:
            raise file_error(
                self._path, f"a tensor name is longer than {MAX_NAME} characters; refused", prefix
            )
        children = _children(value)
        if children is None or _is_tensor(value):
            yield prefix, value
            return
        for name, child in children:
            yield from self.leaves(child, f"{prefix}.{name}" if prefix else name, depth + 1)


def _unwrap(path: PathLike, root: Any, file_size: int) -> tuple[Any, dict[str, Any]]:
    """Returns the object that contains the weights, and the plain values outside it."""
    beside: dict[str, Any] = {}
    for _ in range(MAX_DEPTH):
        if not isinstance(root, dict):
            break
        for key in WRAPPER_KEYS:
            inner = root.get(key)
            walk = _Walk(path, file_size)
            if isinstance(inner, dict) and any(_is_tensor(leaf) for _, leaf in walk.leaves(inner)):
                break
        else:
            break
        for name, value in root.items():
            if name != key:
                for leaf_name, leaf in _Walk(path, file_size).leaves(value, str(name)[:MAX_NAME]):
                    if leaf is None or isinstance(leaf, (str, int, float, bool)):
                        beside[leaf_name] = leaf
        root = inner
    return root, beside


def _entry(path: PathLike, name: str, value: Any) -> TensorEntry:
    if isinstance(value, StoredTensor):
        return TensorEntry(value.shape, value.array_dtype, value.read)
    array = value.array if isinstance(value, PickledArray) else value
    if array is None:
        raise file_error(path, "is an array without content; the file is damaged", name)
    native = array.dtype.newbyteorder("=")
    return TensorEntry(array.shape, native, lambda: array.astype(native, copy=False))


def tensor_map_from_object(path: PathLike, root: Any, kind: str, file_size: int) -> TensorMap:
    """Returns the tensors of a checkpoint object with names joined by '.', without wrappers.

    Raises:
        ValueError: if there is no tensor, two tensors have the same name, or nesting is too deep.
    """
    weights, metadata = _unwrap(path, root, file_size)
    entries: dict[str, TensorEntry] = {}
    for name, value in _Walk(path, file_size).leaves(weights):
        if _is_tensor(value):
            if name in entries:
                raise file_error(path, "two tensors have this name", name)
            entries[name] = _entry(path, name, value)
        elif name and not isinstance(weights, Record) and isinstance(value, (str, int, float, bool)):
            metadata[name] = value
    if not entries:
        raise file_error(path, f"contains no tensors ({kind}), but a weight file was expected")
    return TensorMap(path, entries, metadata, kind)
