"""A step of AdamW for many tensors against float64, and its operators."""

import ctypes
from collections.abc import Callable, Iterator, Sequence

import pytest
from adamw_reference import NUMBERS, Arrays, assert_step, random_arrays, tensors_of
from compiled import MAPS, loaded
from number_formats import ON_GPU

from jseg.gpu_check.speed import profiled
from jseg.ops.adamw import adamw_step
from jseg.ops.adamw.adamw import GROUP_ELEMENTS, SLOTS

SMALL = [(5,), (1,), (3, 2), (16,), (17, 1), (1, 1)]
CASES = {
    "one number": [(1,)],
    "nothing": [(0,)],
    "nothing among others": [(3,), (2, 0), (0,), (7,)],
    "an odd tensor for several threads": [(32769,)],
    "one larger than all others": [(3,), (511, 1027), (2, 3, 5), (1,)],
    "more than a group": SMALL * 30,
    "all numbers of axes": [(2,) * axes for axes in (1, 2, 3, 4)],
}


@pytest.mark.parametrize("name", CASES)
def test_new_values(either_path: str, name: str) -> None:
    """Each tensor has rates of its own."""
    assert_step(CASES[name])


def test_no_tensors(either_path: str) -> None:
    assert adamw_step([], NUMBERS) == []


def test_order_of_a_tensor_does_not_change_its_bits() -> None:
    """Neither do its neighbours."""
    arrays = random_arrays([*SMALL, (300, 401), (70001,)])
    forth, back = bits(arrays), bits(arrays[::-1])[::-1]
    assert forth == back == [bits([each])[0] for each in arrays]


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    """Sets the number of threads of the kernels."""
    openmp = ctypes.CDLL("libgomp.so.1")
    before = openmp.omp_get_max_threads()
    yield openmp.omp_set_num_threads
    openmp.omp_set_num_threads(before)


@pytest.mark.skipif(ON_GPU, reason="threads of the CPU")
def test_same_bits_with_any_number_of_threads(threads: Callable[[int], None]) -> None:
    arrays = random_arrays([(40000,), (3,), *SMALL * 5, (129, 257), (32769,), (15,)])
    found = []
    for number in (1, 2, 3):
        threads(number)
        found.append(bits(arrays))
    assert found[0] == found[1] == found[2]


def bits(arrays: Sequence[Arrays]) -> list[bytes]:
    """The new values of each tensor."""
    return [
        b"".join(value.numpy().tobytes() for value in new) for new in adamw_step(tensors_of(arrays), NUMBERS)
    ]


def operators(shapes: Sequence[tuple[int, ...]]) -> int:
    """Number of operators that a step runs."""
    tensors = tensors_of(random_arrays(shapes))
    updated = []
    table = profiled(lambda: updated.extend(adamw_step(tensors, NUMBERS)))
    name, count = table[0].index("Name"), table[0].index("Count")
    return sum(int(float(row[count])) for row in table[1:] if "adamw" in row[name])


def test_number_of_operators() -> None:
    """One for each group: of one number of axes, as many as an operator takes, and not too large."""
    assert operators([(2,)] * SLOTS) == 1
    assert operators([(2,)] * (SLOTS + 1)) == 2
    assert operators([(2,), (2, 2)] * SLOTS) == 2
    half = (GROUP_ELEMENTS // 2,)
    assert operators([half, (1,), half, half]) == 2


@pytest.mark.skipif(not MAPS.exists(), reason="needs Linux's list of loaded files")
def test_other_sizes_numbers_and_rates_build_nothing() -> None:
    assert_step([(2,), (3, 4)])
    before = loaded()
    assert_step([(7, 1), (33000,), (5,), (1,)], seed=1)
    assert loaded() == before
