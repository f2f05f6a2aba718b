"""PyTorch's types in a weight pickle: storages, the functions that rebuild tensors, and the modules of
TorchScript.

A pickled tensor is a view (offset, shape, strides) of a storage elsewhere in the file. The two are checked
against each other here. Values are read later, on access.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jseg.checkpoints.formats.pickle_machine import Constructor, PickleMachine, PickleProblem, refuse_global
from jseg.checkpoints.formats.pickle_values import PLAIN_CONSTRUCTORS, PlainVocabulary, Record
from jseg.checkpoints.formats.tensor_map import (
    BFLOAT16,
    MAX_DIMENSIONS,
    StorageType,
    decode_bytes,
    element_count,
)

_STORAGE_TYPES: dict[str, StorageType] = {
    "HalfStorage": np.dtype("float16"),
    "FloatStorage": np.dtype("float32"),
    "DoubleStorage": np.dtype("float64"),
    "BFloat16Storage": BFLOAT16,
    "CharStorage": np.dtype("int8"),
    "ByteStorage": np.dtype("uint8"),
    "ShortStorage": np.dtype("int16"),
    "IntStorage": np.dtype("int32"),
    "LongStorage": np.dtype("int64"),
    "BoolStorage": np.dtype("bool"),
}
_TENSOR_TYPES: dict[str, StorageType] = {
    "float16": np.dtype("float16"),
    "half": np.dtype("float16"),
    "float32": np.dtype("float32"),
    "float": np.dtype("float32"),
    "float64": np.dtype("float64"),
    "double": np.dtype("float64"),
    "bfloat16": BFLOAT16,
    "int8": np.dtype("int8"),
    "uint8": np.dtype("uint8"),
    "int16": np.dtype("int16"),
    "short": np.dtype("int16"),
    "int32": np.dtype("int32"),
    "int": np.dtype("int32"),
    "int64": np.dtype("int64"),
    "long": np.dtype("int64"),
    "uint16": np.dtype("uint16"),
    "uint32": np.dtype("uint32"),
    "uint64": np.dtype("uint64"),
    "bool": np.dtype("bool"),
}
MAX_EXPANDED_ELEMENTS = 2**16
"""A tensor expanded with stride 0 may have more elements than its storage, up to this number. Otherwise, a
few bytes could expand to gigabytes."""


@dataclass
class Storage:
    """A run of `count` elements of `dtype`. `fetch` returns its bytes (uint8)."""

    dtype: StorageType
    count: int
    fetch: Callable[[], np.ndarray]


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as PyTorch pickles it: a strided view of a storage. Offset and strides are counted in
    elements."""

    storage: Storage
    dtype: StorageType
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def array_dtype(self) -> np.dtype:
        return np.dtype("float32") if self.dtype == BFLOAT16 else self.dtype

    def read(self) -> np.ndarray:
        """Returns the values: a read-only view if the tensor is contiguous, else a copy."""
        count = element_count(self.shape)
        if count == 0:
            return np.zeros(self.shape, self.array_dtype)
        size = item_size(self.dtype)
        last = self.offset + sum((length - 1) * stride for length, stride in zip(self.shape, self.strides))
        flat = decode_bytes(self.storage.fetch()[self.offset * size : (last + 1) * size], self.dtype)
        if self.strides == _contiguous_strides(self.shape):
            return flat.reshape(self.shape)
        byte_strides = tuple(stride * flat.itemsize for stride in self.strides)
        return np.lib.stride_tricks.as_strided(flat, self.shape, byte_strides, writeable=False).copy()


def item_size(dtype: StorageType) -> int:
    """Size of a stored element in bytes."""
    return 2 if dtype == BFLOAT16 else dtype.itemsize


def _contiguous_strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(element_count(shape[axis + 1 :]) for axis in range(len(shape)))


def _sizes(values: Any, what: str) -> tuple[int, ...]:
    if (
        not isinstance(values, (tuple, list))
        or len(values) > MAX_DIMENSIONS
        or any(type(value) is not int or not 0 <= value < 2**62 for value in values)
    ):
        raise PickleProblem(f"a tensor has no valid {what}")
    return tuple(values)


def _tensor(storage: Any, dtype: StorageType, offset: Any, shape: Any, strides: Any) -> StoredTensor:
    """Returns a checked view of a storage. `dtype` differs from the storage's only for untyped storages."""
    if not isinstance(storage, Storage):
        raise PickleProblem("a tensor refers to something that is not a storage")
    shape, strides = _sizes(shape, "shape"), _sizes(strides, "strides")
    if type(offset) is not int or offset < 0 or len(shape) != len(strides):
        raise PickleProblem("a tensor has no valid offset or strides")
    available = storage.count * item_size(storage.dtype) // item_size(dtype)
    count = element_count(shape)
    if count:
        last = offset + sum((length - 1) * stride for length, stride in zip(shape, strides))
        if last >= available:
            raise PickleProblem(
                f"a tensor of shape {shape} reaches element {last} of a storage of {available}"
            )
        if count > max(available, MAX_EXPANDED_ELEMENTS):
            raise PickleProblem(
                f"a tensor of shape {shape} expands a storage of {available} elements; save a copy of it"
            )
    return StoredTensor(storage, dtype, offset, shape, strides)


def _rebuild_tensor(machine: PickleMachine, arguments: tuple[Any, ...]) -> StoredTensor:
    """torch._utils._rebuild_tensor and _v2: (storage, offset, size, stride[, requires_grad, hooks,
    metadata])."""
    storage, offset, shape, strides = arguments[:4]
    dtype = storage.dtype if isinstance(storage, Storage) else np.dtype("float32")
    return _tensor(storage, dtype, offset, shape, strides)


def _rebuild_tensor_v3(machine: PickleMachine, arguments: tuple[Any, ...]) -> StoredTensor:
    """As v2, with the type as seventh argument and an untyped storage."""
    storage, offset, shape, strides, _, _, dtype = arguments[:7]
    if not isinstance(dtype, Constructor) or dtype.payload is None:
        raise PickleProblem("a tensor has no valid type")
    return _tensor(storage, dtype.payload, offset, shape, strides)


def _rebuild_parameter(machine: PickleMachine, arguments: tuple[Any, ...]) -> StoredTensor:
    """torch._utils._rebuild_parameter: (tensor, requires_grad, hooks[, state])."""
    if not arguments or not isinstance(arguments[0], StoredTensor):
        raise PickleProblem("a parameter does not contain a tensor")
    return arguments[0]


def _rebuild_from_type(machine: PickleMachine, arguments: tuple[Any, ...]) -> Any:
    """torch._tensor._rebuild_from_type_v2: (function, type, arguments, state). Only tensor functions are
    allowed."""
    function, inner = arguments[0], arguments[2]
    if (
        not isinstance(function, Constructor)
        or function.call is None
        or not function.label.startswith("torch._utils.")
    ):
        raise PickleProblem("a tensor is rebuilt by something that is not a tensor function")
    if function.label.endswith("_rebuild_from_type_v2") or not isinstance(inner, tuple):
        raise PickleProblem("a tensor is rebuilt in a way that is not supported")
    return function.call(machine, inner)


def _first_argument(machine: PickleMachine, arguments: tuple[Any, ...]) -> Any:
    """TorchScript wraps lists and dictionaries in calls that only restore their static type."""
    return arguments[0]


def _device(machine: PickleMachine, arguments: tuple[Any, ...]) -> str:
    return ":".join(str(part) for part in arguments if isinstance(part, (str, int)))[:40]


def _torch_constructors() -> dict[tuple[str, str], Constructor]:
    table = dict(PLAIN_CONSTRUCTORS)
    for name, dtype in _STORAGE_TYPES.items():
        table["torch", name] = table["torch.storage", name] = Constructor(f"torch.{name}", payload=dtype)
    for module in ("torch", "torch.storage"):
        table[module, "UntypedStorage"] = Constructor("torch.UntypedStorage", payload=np.dtype("uint8"))
    for name, dtype in _TENSOR_TYPES.items():
        table["torch", name] = Constructor(f"torch.{name}", payload=dtype)
    for name, call in (
        ("_rebuild_tensor", _rebuild_tensor),
        ("_rebuild_tensor_v2", _rebuild_tensor),
        ("_rebuild_tensor_v3", _rebuild_tensor_v3),
        ("_rebuild_parameter", _rebuild_parameter),
        ("_rebuild_parameter_with_state", _rebuild_parameter),
    ):
        table["torch._utils", name] = Constructor(f"torch._utils.{name}", call)
    table["torch._tensor", "_rebuild_from_type_v2"] = Constructor(
        "torch._utils._rebuild_from_type_v2", _rebuild_from_type
    )
    table["torch", "Size"] = Constructor("torch.Size", _first_argument)
    table["torch", "device"] = Constructor("torch.device", _device)
    table["torch", "Tensor"] = Constructor("torch.Tensor")
    table["torch.nn.parameter", "Parameter"] = Constructor("torch.nn.parameter.Parameter")
    return table


_TORCH_CONSTRUCTORS: Mapping[tuple[str, str], Constructor] = _torch_constructors()
_SCRIPT_WRAPPERS = (
    "build_intlist",
    "build_doublelist",
    "build_boollist",
    "build_tensorlist",
    "restore_type_tag",
)


class TorchVocabulary(PlainVocabulary):
    """Names allowed in files of `torch.save`. `open_storage(key, dtype, count)` finds the bytes of a
    storage."""

    def __init__(self, open_storage: Callable[[str, StorageType, int], Storage]) -> None:
        self._open_storage = open_storage

    def find(self, module: str, name: str) -> Constructor:
        constructor = _TORCH_CONSTRUCTORS.get((module, name))
        if constructor is None:
            raise refuse_global(module, name)
        return constructor

    def persistent(self, reference: Any) -> Storage:
        """('storage', type, key, device, element count[, view of another storage])."""
        if not isinstance(reference, tuple) or len(reference) not in (5, 6) or reference[0] != "storage":
            raise PickleProblem("it refers to something that is not a storage")
        kind, key, count = reference[1], reference[2], reference[4]
        if not isinstance(kind, Constructor) or not kind.label.endswith("Storage"):
            raise PickleProblem("a storage has no valid type")
        if not isinstance(key, (str, int)) or type(count) is not int or not 0 <= count < 2**62:
            raise PickleProblem("a storage has no valid key or size")
        storage = self._open_storage(str(key), kind.payload, count)
        return (
            self._view(storage, reference[5]) if len(reference) == 6 and reference[5] is not None else storage
        )

    @staticmethod
    def _view(storage: Storage, view: Any) -> Storage:
        """Part of a storage (old format): (key, offset, element count)."""
        if not isinstance(view, tuple) or len(view) != 3:
            raise PickleProblem("a storage view is damaged")
        offset, count = _sizes(view[1:], "storage view")
        if offset + count > storage.count:
            raise PickleProblem(f"a storage view reaches element {offset + count} of {storage.count}")
        size = item_size(storage.dtype)
        return Storage(storage.dtype, count, lambda: storage.fetch()[offset * size : (offset + count) * size])


class ScriptVocabulary(TorchVocabulary):
    """Also allows the module classes of a TorchScript archive. Each becomes a record of its attributes, and
    the code in the archive is ignored."""

    def find(self, module: str, name: str) -> Constructor:
        if module == "__torch__" or module.startswith("__torch__."):
            label = f"{module}.{name}"
            return Constructor(label, lambda machine, arguments: Record(label))
        if module == "torch.jit._pickle" and name in _SCRIPT_WRAPPERS:
            return Constructor(f"{module}.{name}", _first_argument)
        return super().find(module, name)
