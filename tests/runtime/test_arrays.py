"""NumPy's arrays reach Jittor and come back with their values, whatever their type, order, byte order and
alignment, with NumPy 1.26 and with NumPy 2: Jittor's own reading of them gives wrong values or crashes."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jseg.runtime.backend import jt
from jseg.runtime.exchange import exchange_problem

ROOT = Path(__file__).resolve().parents[2]
_TYPES = [np.dtype(code).name for code in "?bhiqBHIQefd"]
_KEPT = {
    "int64": "int32",
    "uint64": "int32",
    "float64": "float32",
}  # what Jittor stores unless told otherwise


def unaligned(array: np.ndarray) -> np.ndarray:
    """The same values at an address that is off by one byte from its alignment."""
    memory = np.zeros(array.nbytes + 1, np.uint8)
    copy = memory[1:].view(array.dtype).reshape(array.shape)
    copy[...] = array
    assert copy.flags.aligned == (array.itemsize == 1)
    return copy


def swapped(array: np.ndarray) -> np.ndarray:
    """The same values in the other byte order."""
    return array.astype(array.dtype.newbyteorder("S"))


LAYOUTS = {
    "contiguous": lambda x: x,
    "Fortran": np.asfortranarray,
    "transposed": lambda x: x.transpose(2, 0, 1),
    "backwards": lambda x: x[::-1, :, ::-1],
    "every second": lambda x: x[:, ::2],
    "one column": lambda x: x[:, :, 1],
    "repeated": lambda x: np.broadcast_to(x[:1], (5, *x.shape[1:])),
    "unaligned": unaligned,
    "swapped": swapped,
    "swapped and backwards": lambda x: swapped(x)[::-1],
    "swapped and unaligned": lambda x: unaligned(swapped(x)),
    "read only": lambda x: np.frombuffer(x.tobytes(), x.dtype).reshape(x.shape),
    "no dimensions": lambda x: x[1, 2, 3],
    "no dimensions, swapped": lambda x: swapped(x[1, 2, 3].reshape(())),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", _TYPES)
def test_every_type_in_every_layout(name, layout):
    values = np.arange(60).reshape(3, 4, 5)
    array = LAYOUTS[layout]((values % 3 == 1) if name == "bool" else (values * 3 + 1).astype(name))
    expected = np.atleast_1d(array).astype(
        name
    )  # native, contiguous; Jittor has no arrays without dimensions
    var = jt.array(array)
    assert str(var.dtype) in (name, _KEPT.get(name))
    np.testing.assert_array_equal(var.numpy(), expected)
    np.testing.assert_array_equal(var.data, expected)
    exact = jt.array(array, dtype=name)
    assert str(exact.dtype) == name
    np.testing.assert_array_equal(exact.numpy(), expected)
    assert exact.numpy().dtype == name


@pytest.mark.parametrize("layout", [name for name in LAYOUTS if "dimensions" not in name])
def test_assigning_to_the_data_of_a_var(layout):
    array = LAYOUTS[layout](np.arange(60, dtype=np.float32).reshape(3, 4, 5))
    var = jt.zeros(array.shape)
    var.data = array
    np.testing.assert_array_equal(var.numpy(), array)


@pytest.mark.parametrize("kept", [True, False])
def test_jittor_ring_buffer(kept):
    """Arrays passed by Jittor's own data loaders."""
    buffer = jt.RingBuffer(1 << 16)
    buffer.keep_numpy_array(kept)
    for make in LAYOUTS.values():
        array = np.asarray(make(np.arange(60, dtype=np.float32).reshape(3, 4, 5)))
        buffer.push({"array": array, "list": [array, 3]})
        got = buffer.pop()
        for back in (got["array"], got["list"][0]):
            assert isinstance(back, np.ndarray) == kept
            np.testing.assert_array_equal(back if kept else back.numpy(), np.atleast_1d(array))


def test_long_doubles_are_stored_as_doubles():
    """Their 16 bytes used to be copied as if each 8 were a number."""
    array = np.arange(12, dtype=np.longdouble).reshape(3, 4) / 7
    for value in (array, array[::-1], list(array[0]), array[1, 2]):
        var = jt.array(value)
        np.testing.assert_allclose(var.numpy(), np.atleast_1d(np.float64(value)), rtol=1e-7)


def test_scalars_and_lists():
    for value, kind in (
        (np.float32(2.5), "float32"),
        (np.float64(2.5), "float32"),
        (np.float16(2.5), "float16"),
        (np.int64(-3), "int32"),
        (np.uint8(200), "uint8"),
        (np.True_, "bool"),
    ):
        var = jt.array(value)
        assert var.shape == [1] and str(var.dtype) == kind and var.numpy()[0] == value
        np.testing.assert_array_equal(jt.array([value, value]).numpy(), [value, value])
    swapped_row = swapped(np.arange(4, dtype=np.float32))
    np.testing.assert_array_equal(jt.array([swapped_row, swapped_row]).numpy(), [range(4)] * 2)
    np.testing.assert_array_equal(jt.array([[1, 2.5], [3, 4]]).numpy(), [[1, 2.5], [3, 4]])
    np.testing.assert_array_equal(jt.array([]).numpy(), [])
    assert jt.array(np.zeros((0, 3), np.float32)).shape == [0, 3]


def test_arithmetic_with_scalars_and_arrays():
    var = jt.array(np.arange(6, dtype=np.float32))
    for other in (np.float32(2), np.int64(2), 2.0, np.full(6, 2.0), swapped(np.full(6, 2, np.int32))[::-1]):
        np.testing.assert_array_equal((var * other).numpy(), np.arange(6) * 2)


def test_scalars_as_indices():
    """Jittor used to pass NumPy a descriptor with one field filled in, but NumPy 2 reads the others."""
    array = np.arange(60, dtype=np.float32).reshape(3, 4, 5)
    var = jt.array(array)
    for index in (np.int64(2), np.int32(-1), np.uint8(1)):
        np.testing.assert_array_equal(var[index].numpy(), array[index])
    np.testing.assert_array_equal(var[:, np.int64(1), np.intp(3)].numpy(), array[:, 1, 3])
    for wrong in (np.float32(1.5), np.float64(2), np.int64(1 << 40), np.datetime64("2026-11-28")):
        with pytest.raises(RuntimeError, match="an index must be an integer of 32 bits, not"):
            var[wrong]


def test_arrays_as_indices():
    array = np.arange(20, dtype=np.float32)
    for index in (np.array([3, 1]), np.array([9, 3, 1])[::-2], swapped(np.array([5, 2], np.int32))):
        np.testing.assert_array_equal(jt.array(array)[index].numpy(), array[index])


@pytest.mark.parametrize(
    "array, name",
    [
        (np.array(["2026-11-28"], "datetime64[D]"), r"datetime64\[D\]"),
        (np.array([3], "timedelta64[s]"), r"timedelta64\[s\]"),
        (np.array([{}, None]), "object"),
        (np.array(["a"]), "<U1"),
        (np.array([b"a"]), r"\|S1"),
        (np.array([1j], np.complex64), "complex64"),
        (np.array([1j]), "complex128"),
        (np.zeros(2, [("x", "f4"), ("y", "i4")]), "'x'"),
    ],
)
def test_types_that_jittor_lacks_are_refused_by_name(array, name):
    for value in (array, array[::-1], list(array)):
        with pytest.raises(RuntimeError, match=f"Jittor has no values of NumPy's type.*{name}.*astype"):
            jt.array(value)


def test_numpy_takes_a_var_for_an_array(recwarn):
    var = jt.array(np.arange(6, dtype=np.float32).reshape(2, 3))
    np.testing.assert_array_equal(np.asarray(var), [[0, 1, 2], [3, 4, 5]])
    assert np.asarray(var, np.float64).dtype == np.float64
    np.testing.assert_array_equal(np.array(var, copy=True) + 1, [[1, 2, 3], [4, 5, 6]])
    assert not recwarn.list


def test_the_comparison_at_import_finds_nothing():
    assert exchange_problem(jt) == ""


_LIFETIMES = """
import gc
import numpy as np
from jseg.runtime.backend import jt

def churn():
    gc.collect()
    jt.gc()
    return [np.full(50000, 7, np.float32) for _ in range(50)]

expected = np.arange(30000, dtype=np.float32)
for make in (lambda x: x, lambda x: x[::-1][::-1], lambda x: x.astype(">f4"), lambda x: np.asfortranarray(x)):
    var = jt.array(make(expected.copy()))  # NumPy's memory goes at once
    churn()
    assert (var.numpy() == expected).all()
    copy, view, part = var.numpy(), var.data, var.data[5:9]
    del var  # the views hold Jittor's memory
    churn()
    assert (copy == expected).all() and (view == expected).all() and (part == expected[5:9]).all()
    var = jt.array(copy[::2])
    copy[:] = 0
    assert (var.numpy() == expected[::2]).all()
with jt.flag_scope(reuse_array=1):
    array = expected.copy()
    var = jt.array(array)
    del array  # Jittor holds NumPy's memory
    churn()
    assert (var.numpy() == expected).all()
got = []
jt.fetch(jt.array(expected) * 1, got.append)
jt.sync_all(True)
churn()
assert (got[0] == expected).all()
for _ in range(200):
    jt.array([expected, expected[::-1]]).numpy()
print("DONE")
"""


def test_no_buffer_is_freed_too_early():
    """Memory is overwritten when it is freed, so that later reads give other values."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "MALLOC_PERTURB_": "165",
        "MALLOC_MMAP_THRESHOLD_": str(1 << 30),
    }
    done = subprocess.run([sys.executable, "-c", _LIFETIMES], env=environment, capture_output=True, text=True)
    assert done.stdout.strip().endswith("DONE"), done.stderr[-2000:]
