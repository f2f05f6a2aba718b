"""The CUDA dropout, run by the emulator, against the definition of its pattern."""

import numpy as np
import pytest
from emulated import RANDOM, Kernels, round_to
from op_references import dropout_factors


@pytest.mark.parametrize("name", ["Float", "Half", "Bfloat"])
@pytest.mark.parametrize("rows, width", [(1, 1), (9, 37), (130, 64)])
def test_a_later_part_of_a_batch(name: str, rows: int, width: int) -> None:
    x = round_to(np.random.default_rng(0).standard_normal((rows, width)), name)
    wanted = round_to(x * dropout_factors(1, 1, rows + 6, width, 0.3, 11)[0, 0, 6:].astype(np.float32), name)
    np.testing.assert_array_equal(Kernels(name, 16, RANDOM).dropout(x, 0.3, 11, 6), wanted)
