"""Sums, means, maxima and objects over all processes. In a single process, each returns its argument."""

import pickle
from typing import Any, TypeAlias

import numpy as np

from jseg.distributed import mpi
from jseg.runtime.backend import jt

Reducible: TypeAlias = np.ndarray | jt.Var


def barrier(what: str = "a barrier") -> None:
    """Returns once every process has called it."""
    if mpi.world_size() > 1:
        mpi.arrive(what)


def all_reduce_sum(value: Reducible, what: str = "a sum") -> Reducible:
    """Returns the sum over all processes, with the dtype and shape of `value`. A Var is returned without
    gradient.

    Integers are added exactly, as 64-bit integers. Half precision is added in double precision.
    """
    return _reduce(value, "sum", what)


def all_reduce_max(value: Reducible, what: str = "a maximum") -> Reducible:
    """Returns the elementwise maximum over all processes, with the dtype and shape of `value`."""
    return _reduce(value, "max", what)


def all_reduce_mean(value: Reducible, what: str = "a mean") -> Reducible:
    """Returns the mean over all processes: with the dtype of `value` if that is floating-point, else float64
    (for a Var, float32)."""
    if isinstance(value, jt.Var):
        return jt.array(_as_float(all_reduce_mean(value.numpy(), what), np.float32)).stop_grad()
    value = _as_float(np.asarray(value), np.float64)
    total = _reduce(value, "sum", what)
    return (total / mpi.world_size()).astype(value.dtype)


def broadcast_object(value: Any, root: int = 0, what: str = "an object") -> Any:
    """Returns `value` of process `root`, which must be picklable. The values of other processes are
    ignored."""
    if mpi.world_size() == 1:
        return value
    content = pickle.dumps(value) if mpi.rank() == root else b""
    size = int(all_reduce_sum(np.array(len(content)), what))
    buffer = np.zeros(size, np.uint8)
    buffer[: len(content)] = np.frombuffer(content, np.uint8)
    mpi.broadcast(buffer, root, what)
    return pickle.loads(buffer.tobytes())  # safe: sent by a process of the same job


def gather_objects(value: Any, what: str = "objects") -> list[Any]:
    """Returns the picklable values of all processes in rank order, on every process. Meant for small
    objects."""
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
