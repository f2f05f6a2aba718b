"""Types that a weight pickle may construct besides PyTorch's: containers, NumPy arrays and scalars, Jittor's
Var."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from jseg.checkpoints.formats.pickle_machine import (
    Buildable,
    Constructor,
    PickleMachine,
    PickleProblem,
    Vocabulary,
    check_key,
    refuse_global,
)
from jseg.checkpoints.formats.tensor_map import MAX_DIMENSIONS, element_count

MemoryOrder = Literal["C", "F"]

NUMPY_TYPES: dict[str, np.dtype] = {
    dtype.str[1:]: dtype
    for dtype in map(
        np.dtype,
        (
            "float16",
            "float32",
            "float64",
            "int8",
            "int16",
            "int32",
            "int64",
            "uint8",
            "uint16",
            "uint32",
            "uint64",
            "bool",
        ),
    )
}


def byte_order(code: str) -> Literal["<", ">", "="]:
    """Returns the byte order in a type code, or the machine's if there is none."""
    if code.startswith("<"):
        return "<"
    return ">" if code.startswith(">") else "="


class Record(Buildable):
    """An object of another class, reduced to its attributes. Its class is never loaded."""

    def __init__(self, type_name: str) -> None:
        self.type_name = type_name
        self.attributes: dict[str, Any] = {}

    def build(self, machine: PickleMachine, state: Any) -> None:
        if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
            raise PickleProblem(f"the state of a {self.type_name} is not a map of attributes")
        machine.charge(operations=len(state))
        self.attributes.update(state)


class PickledDtype(Buildable):
    """numpy.dtype in two steps, as NumPy pickles it: the type code, then the byte order."""

    def __init__(self, dtype: np.dtype) -> None:
        self.dtype = dtype

    def build(self, machine: PickleMachine, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) < 2 or state[1] not in ("<", ">", "=", "|"):
            raise PickleProblem("a numpy type has no valid byte order")
        if any(part is not None for part in state[2:5]):
            raise PickleProblem("a numpy type with fields is not a tensor type")
        if state[1] in "<>":
            self.dtype = self.dtype.newbyteorder(state[1])


class PickledArray(Buildable):
    """numpy.ndarray in two steps: an empty array, then shape, type, memory order and bytes."""

    def __init__(self) -> None:
        self.array: np.ndarray | None = None

    def build(self, machine: PickleMachine, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5:
            raise PickleProblem("a numpy array has no valid state")
        _, shape, dtype, fortran, content = state
        self.array = _array(machine, content, dtype, shape, "F" if fortran is True else "C")


def _array(machine: PickleMachine, content: Any, dtype: Any, shape: Any, order: MemoryOrder) -> np.ndarray:
    """Returns the bytes of a pickled array as a read-only view of the file."""
    if not isinstance(dtype, PickledDtype):
        raise PickleProblem("a numpy array has no valid type")
    if isinstance(content, str):  # protocol 2 of Python 2 stores bytes as text
        machine.charge(copied_bytes=len(content))
        content = memoryview(content.encode("latin-1"))
    if not isinstance(content, memoryview):
        raise PickleProblem("a numpy array does not contain plain bytes (Python objects are refused)")
    if (
        not isinstance(shape, tuple)
        or len(shape) > MAX_DIMENSIONS
        or any(type(size) is not int or not 0 <= size < 2**62 for size in shape)
    ):
        raise PickleProblem("a numpy array has no valid shape")
    needed = element_count(shape) * dtype.dtype.itemsize
    if needed != content.nbytes:
        raise PickleProblem(f"a numpy array of shape {shape} needs {needed} bytes but has {content.nbytes}")
    return (
        np.frombuffer(content, dtype.dtype).reshape(shape, order=order)
        if needed
        else np.zeros(shape, dtype.dtype)
    )


def _call_dtype(machine: PickleMachine, arguments: tuple[Any, ...]) -> PickledDtype:
    code = arguments[0]
    if not isinstance(code, str) or code.lstrip("<>=|") not in NUMPY_TYPES:
        raise PickleProblem(f"numpy type {ascii(code)[:40]} is not a tensor type")
    return PickledDtype(NUMPY_TYPES[code.lstrip("<>=|")].newbyteorder(byte_order(code)))


def _call_frombuffer(machine: PickleMachine, arguments: tuple[Any, ...]) -> np.ndarray:
    content, dtype, shape, order = arguments
    if order not in ("C", "F"):
        raise PickleProblem("a numpy array has no valid memory order")
    return _array(machine, content, dtype, shape, order)


def _call_encode(machine: PickleMachine, arguments: tuple[Any, ...]) -> memoryview:
    """Protocol 2 has no bytes. They are written as latin-1 text to be encoded."""
    text, encoding = arguments
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise PickleProblem("refused an encoding other than latin1")
    machine.charge(copied_bytes=len(text))
    return memoryview(text.encode("latin-1"))


def _call_var(machine: PickleMachine, arguments: tuple[Any, ...]) -> Any:
    """jittor.Var is pickled as Var(numpy array)."""
    if len(arguments) != 1 or not isinstance(arguments[0], (PickledArray, np.ndarray)):
        raise PickleProblem("a jittor.Var does not contain a numpy array")
    return arguments[0]


def _call_dict(machine: PickleMachine, arguments: tuple[Any, ...]) -> dict[Any, Any]:
    if not arguments:
        return {}
    source = arguments[0]
    machine.charge(operations=len(source))
    pairs: list[Any] = list(source.items()) if isinstance(source, dict) else source
    if not all(isinstance(pair, (list, tuple)) and len(pair) == 2 for pair in pairs):
        raise PickleProblem("a dictionary is not built from pairs")
    return {check_key(key): value for key, value in pairs}


def _call_set(machine: PickleMachine, arguments: tuple[Any, ...]) -> frozenset:
    items = arguments[0] if arguments else ()
    if not isinstance(items, (list, tuple, set, frozenset)):
        raise PickleProblem("a set is not built from a list")
    machine.charge(operations=len(items))
    return frozenset(check_key(item) for item in items)


def _call_bytes(machine: PickleMachine, arguments: tuple[Any, ...]) -> memoryview:
    """Protocol 2 writes an empty byte string as bytes()."""
    if arguments:
        raise PickleProblem("refused to construct bytes from arguments")
    return memoryview(b"")


def _call_empty(machine: PickleMachine, arguments: tuple[Any, ...]) -> dict[Any, Any]:
    """collections.defaultdict(factory). The factory is never called, so missing keys stay missing."""
    return {}


def _record(label: str) -> Constructor:
    return Constructor(label, lambda machine, arguments: Record(label))


def _plain_constructors() -> dict[tuple[str, str], Constructor]:
    table = {
        ("collections", "OrderedDict"): Constructor("collections.OrderedDict", _call_dict),
        ("collections", "Counter"): Constructor("collections.Counter", _call_dict),
        ("collections", "defaultdict"): Constructor("collections.defaultdict", _call_empty),
        ("argparse", "Namespace"): _record("argparse.Namespace"),
        ("_codecs", "encode"): Constructor("_codecs.encode", _call_encode),
        ("numpy", "dtype"): Constructor("numpy.dtype", _call_dtype),
        ("numpy", "ndarray"): Constructor("numpy.ndarray"),
    }
    for module in ("builtins", "__builtin__"):
        table[module, "set"] = table[module, "frozenset"] = Constructor("builtins.set", _call_set)
        table[module, "bytes"] = Constructor("builtins.bytes", _call_bytes)
        for name in ("dict", "list", "int", "float", "str", "bool", "tuple"):
            table[module, name] = Constructor(f"builtins.{name}")
    for core in ("numpy.core", "numpy._core"):
        table[f"{core}.multiarray", "_reconstruct"] = Constructor(
            "numpy array", lambda machine, arguments: PickledArray()
        )
        table[f"{core}.multiarray", "scalar"] = Constructor(
            "numpy scalar", lambda machine, arguments: _array(machine, arguments[1], arguments[0], (), "C")
        )
        table[f"{core}.numeric", "_frombuffer"] = Constructor("numpy array", _call_frombuffer)
    for module in ("jittor", "jittor_core", "jittor.jittor_core", "jittor_utils.jittor_core"):
        table[module, "Var"] = Constructor("jittor.Var", _call_var)
    return table


PLAIN_CONSTRUCTORS: Mapping[tuple[str, str], Constructor] = _plain_constructors()


class PlainVocabulary(Vocabulary):
    """Containers, NumPy and Jittor, without persistent ids."""

    def find(self, module: str, name: str) -> Constructor:
        constructor = PLAIN_CONSTRUCTORS.get((module, name))
        if constructor is None:
            raise refuse_global(module, name)
        return constructor

    def persistent(self, reference: Any) -> Any:
        raise PickleProblem("it refers to data outside the pickle, which this format does not have")
