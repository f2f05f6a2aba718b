"""Run by test_collectives.py under `mpirun`: compares each collective with its expected result."""

import re
import sys
import time
from pathlib import Path

import numpy as np

from jseg.distributed import (
    Compression,
    agreement,
    all_reduce_max,
    all_reduce_mean,
    all_reduce_sum,
    average_gradients,
    barrier,
    broadcast_object,
    check_device,
    check_same,
    gather_objects,
    is_main,
    local_rank,
    local_size,
    mpi,
    rank,
    set_wait_observer,
    world_size,
)
from jseg.distributed import gradients as gradients_module
from jseg.runtime.backend import jt
from jseg.runtime.device import Device


def numbers(own: int, size: int) -> None:
    """Types, shapes and values of the reductions."""
    total = all_reduce_sum(np.array([[own + 1, 2**60]], np.int64))
    assert total.dtype == np.int64 and total.tolist() == [[size * (size + 1) // 2, size * 2**60]]
    for dtype in (np.float32, np.float64, np.float16, np.int32, np.uint8, bool):
        value = all_reduce_sum(np.full((2, 3), 1, dtype))
        assert (
            value.dtype == dtype and value.shape == (2, 3) and (value == np.array(size).astype(dtype)).all()
        )
    assert all_reduce_sum(np.array(0.5)).shape == () and all_reduce_sum(np.zeros((0, 3))).shape == (0, 3)
    assert all_reduce_max(np.array([own, -own])).tolist() == [size - 1, 0]
    mean = all_reduce_mean(np.array([own]))
    assert mean.dtype == np.float64 and mean[0] == (size - 1) / 2
    scattered = np.arange(12.0).reshape(3, 4).T  # not contiguous
    np.testing.assert_array_equal(all_reduce_sum(scattered), scattered * size)


def variables(own: int, size: int) -> None:
    """The same for Jittor's, and gradients over several buckets."""
    assert all_reduce_sum(jt.array([1, own])).numpy().tolist() == [size, size * (size - 1) // 2]
    assert all_reduce_max(jt.array([0.5, own])).numpy().tolist() == [0.5, size - 1]
    assert all_reduce_mean(jt.array([float(own)])).item() == (size - 1) / 2
    gradients_module.BUCKET_NUMBERS = 8
    shapes = [(2, 3), (4,), (5, 2), (1,)]
    own_gradients = [jt.ones(shape) * (own + index) for index, shape in enumerate(shapes)]
    for index, (mean, shape) in enumerate(zip(average_gradients(own_gradients), shapes)):
        np.testing.assert_allclose(mean.numpy(), np.full(shape, (size - 1) / 2 + index), rtol=1e-6)


def compressed(own: int, size: int) -> None:
    """Each sum is rounded; what is removed comes with the next, so that many sums together are right."""
    compression = Compression()
    everybody = np.random.default_rng(0).standard_normal((size, 1003)).astype(np.float32)
    exact, calls, total = everybody.sum(0, dtype=np.float64), 30, np.zeros(1003)
    errors = []
    for _ in range(calls):
        values = everybody[own].copy()
        compression.sum(0, values, "a test")
        check_same({"sums": values}, "")
        total += values
        errors.append(np.abs(values - exact).max())
    assert 1e-3 < max(errors) < 0.1, errors
    # Without feedback, the first error would come `calls` times.
    assert np.abs(total - calls * exact).max() < 3 * max(errors)
    (mean,) = average_gradients([jt.ones((7,)) * own], compression=Compression())
    assert (mean.numpy() == (size - 1) / 2).all()


def objects(own: int, size: int) -> None:
    """Objects, and the comparison of all ranks."""
    assert broadcast_object({"from": own}, root=size - 1) == {"from": size - 1}
    assert gather_objects("x" * own) == ["x" * number for number in range(size)]
    check_same({"weights": np.ones(3), "names": ["a", "b"]}, "")
    try:
        check_same({"names": ["a"], "weights": np.array([1.0, own == 1])}, "copy the file")
    except ValueError as error:
        message = str(error)
        assert re.findall(r"rank \d", message) == ["rank 1", "rank 0"]
        assert "weights" in message and message.endswith("copy the file")
    else:
        raise AssertionError("a difference was not noticed")
    for thing in (["a", "b", "c"][: 3 - (own == 1)], "a\nb\nc\n" if own != 1 else "a\nb\n"):
        try:
            check_same({"names": thing}, "")
        except ValueError as error:
            assert "names (nothing in place of c)" in str(error), error
        else:
            raise AssertionError("a shorter list was not noticed")


def long_messages(own: int, size: int) -> None:
    """Arrays that are too long for one message are sent in several."""
    whole, mpi._LARGEST_COUNT = mpi._LARGEST_COUNT, 5
    for length in (5, 12):
        numbers = np.arange(length) + own
        expected = np.arange(length) * size + size * (size - 1) // 2
        np.testing.assert_array_equal(all_reduce_sum(numbers), expected)
    assert broadcast_object("twenty letters and 2", root=1) == "twenty letters and 2"
    mpi._LARGEST_COUNT = whole


def one_library() -> None:
    """mpi4py calls the library that Jittor has initialised, and does not load a second one."""
    maps = Path("/proc/self/maps")
    if maps.is_file():
        paths = {line.split(maxsplit=5)[-1] for line in maps.read_text().splitlines()}  # may hold spaces
        names = [Path(path).name for path in paths if path.startswith("/")]
        assert sum(name.startswith("libmpi.so") for name in names) == 1, sorted(paths)
        assert any(name.startswith("MPI.") for name in names), sorted(paths)  # mpi4py's


def devices(own: int) -> None:
    """One process on a GPU among others on CPUs."""
    check_device()
    agreement.device = Device("cuda", "CUDA on a test") if own == 1 else Device("cpu", "full")
    try:
        check_device()
    except ValueError as error:
        message = str(error)
        assert re.findall(r"rank \d", message) == ["rank 1", "rank 0"]
        assert ("CUDA on a test" if own == 1 else "CPU (full)") in message and "--device" in message
    else:
        raise AssertionError("the GPU was not noticed")


def waiting(own: int) -> None:
    """A waiting rank reports the reason, and can stop waiting without ending the others."""
    seen = []
    set_wait_observer(lambda what, seconds: seen.append((what, seconds)))
    if own == 0:
        time.sleep(1.2)
    barrier("the late one")
    set_wait_observer(None)
    assert bool(seen) == (own != 0), seen
    assert all(what == "the late one" and seconds >= 0.5 for what, seconds in seen)


if __name__ == "__main__":
    me, everybody = rank(), world_size()
    assert everybody == int(sys.argv[1]) and local_size() == everybody and local_rank() == me
    assert is_main() == (me == 0)
    numbers(me, everybody)
    variables(me, everybody)
    compressed(me, everybody)
    objects(me, everybody)
    long_messages(me, everybody)
    one_library()
    devices(me)
    waiting(me)
    barrier()
    sys.stdout.write(f"rank {me} is done\n")
