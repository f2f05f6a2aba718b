"""Replacement of rows of a sequence, against NumPy."""

import re

import numpy as np
import pytest

from jseg.ops import replace_rows
from jseg.runtime.backend import jt


@pytest.mark.parametrize(
    "batch, length, count, width, start",
    [(1, 1, 1, 1, 0), (3, 7, 2, 5, 1), (2, 6, 6, 4, 0), (2, 9, 3, 8, 6), (2, 4, 0, 3, 4)],
)
def test_values_and_gradients(batch, length, count, width, start):
    rng = np.random.default_rng(0)
    x, d = (rng.standard_normal((batch, length, width)).astype(np.float32) for _ in range(2))
    rows = rng.standard_normal((batch, count, width)).astype(np.float32)
    inputs = [jt.array(x), jt.array(rows)]
    y = replace_rows(*inputs, start)
    gradients = jt.grad((y * jt.array(d)).sum(), inputs)
    expected, dx = x.copy(), d.copy()
    expected[:, start : start + count] = rows
    dx[:, start : start + count] = 0
    np.testing.assert_array_equal(y.numpy(), expected)
    np.testing.assert_array_equal(gradients[0].numpy(), dx)
    np.testing.assert_array_equal(gradients[1].numpy().reshape(rows.shape), d[:, start : start + count])
    np.testing.assert_array_equal(inputs[0].numpy(), x)


@pytest.mark.parametrize(
    "rows, start", [((2, 3, 5), 0), ((1, 3, 4), 0), ((2, 3, 4), 4), ((2, 3, 4), -1), ((3, 4), 0)]
)
def test_what_does_not_fit(rows, start):
    with pytest.raises(ValueError, match=rf"\breplace_rows\b.*\[2, 6, 4\].*{re.escape(str(list(rows)))}"):
        replace_rows(jt.zeros((2, 6, 4)), jt.zeros(rows), start)
