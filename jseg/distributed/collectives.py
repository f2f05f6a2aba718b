"""Sums, means, maxima and objects over all processes. In a single process each returns its argument."""

import pickle
from typing import Any, TypeAlias

import numpy as np

from jseg.distributed import mpi
from jseg.runtime.backend import jt

Reducible: TypeAlias = np.ndarray | jt.Var


def barrier(what: str = "a barrier") -> None:
    """Returns when every process has arrived here."""
    if mpi.world_size() > 1:
        mpi.arrive(what)


def all_reduce_sum(value: Reducible, what: str = "a sum") -> Reducible:
    """The sum over all processes, in the type and shape of `value`; a Var comes back without gradient.

    Integers are added as 64-bit integers, exactly; half precision is added in double precision.
    """
    return _reduce(value, "sum", what)


def all_reduce_max(value: Reducible, what: str = "a maximum") -> Reducible:
    """The elementwise maximum over all processes, in the type and shape of `value`."""
    return _reduce(value, "max", what)


def all_reduce_mean(value: Reducible, what: str = "a mean") -> Reducible:
    """The mean over all processes: of the type of `value` if that
    is floating, else float64 (a Var: float32)."""
    if isinstance(value, jt.Var):
        return jt.array(_as_float(all_reduce_mean(value.numpy(), what), np.float32)).stop_grad()
    value = _as_float(np.asarray(value), np.float64)
    total = _reduce(value, "sum", what)
    return (total / mpi.world_size()).astype(value.dtype)


def broadcast_object(value: Any, root: int = 0, what: str = "an object") -> Any:
    """`value` of process `root`, which must be picklable; the other processes' is ignored."""
    if mpi.world_size() == 1:
        return value
    content = pickle.dumps(value) if mpi.rank() == root else b""
    size = int(all_reduce_sum(np.array(len(content)), what))
    buffer = np.zeros(size, np.uint8)
    buffer[: len(content)] = np.frombuffer(content, np.uint8)
    mpi.broadcast(buffer, root, what)
    return pickle.loads(buffer.tobytes())  # from a process of the same job, not from a file


def gather_objects(value: Any, what: str = "objects") -> list[Any]:
    """The picklable values of all processes in the order of ranks, on every process. Meant for small ones."""
    return [broadcast_object(value, root, what) for root in range(mpi.world_size())]


def _reduce(value: Reducible, operation: str, what: str) -> Reducible:
    if isinstance(value, jt.Var):
        return jt.array(_reduce(value.numpy(), operation, what)).stop_grad()
    array = np.asarray(value)
    travelling = _travel_type(array.dtype)
    if mpi.world_size() == 1:
        return array.copy()
    buffer = np.array(array, dtype=travelling, order="C", ndmin=1)
    mpi.all_reduce(buffer, operation, what)
    return buffer.reshape(array.shape).astype(array.dtype)


def _travel_type(dtype: np.dtype) -> np.dtype:
    if dtype.kind in "biu":
        return np.dtype(np.int64)
    if dtype.kind != "f":
        raise TypeError(f"only numbers can be reduced over processes, not {dtype}")
    return dtype if dtype in (np.float32, np.float64) else np.dtype(np.float64)


def _as_float(array: np.ndarray, otherwise: type) -> np.ndarray:
    return array if array.dtype.kind == "f" else array.astype(otherwise)
