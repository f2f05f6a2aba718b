"""Rows put into a sequence and taken out of it, against NumPy."""

import re

import numpy as np
import pytest

from jseg.ops import drop_rows, insert_rows
from jseg.runtime.backend import jt


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize(
    "batch, length, count, width, start",
    [
        (1, 1, 1, 1, 0),
        (3, 7, 2, 5, 1),
        (2, 6, 6, 4, 6),
        (2, 9, 3, 8, 0),
        (2, 4, 0, 3, 4),
        (2, 0, 3, 4, 0),
        (0, 4, 2, 3, 1),
    ],
)
def test_inserted_rows(batch: int, length: int, count: int, width: int, start: int) -> None:
    x, rows = normal(batch, length, width), normal(batch, count, width, seed=1)
    d = normal(batch, length + count, width, seed=2)
    inputs = [jt.array(x), jt.array(rows)]
    y = insert_rows(*inputs, start)
    np.testing.assert_array_equal(y.numpy(), np.concatenate([x[:, :start], rows, x[:, start:]], 1))
    np.testing.assert_array_equal(inputs[0].numpy(), x)
    if batch and length:
        dx, drows = jt.grad((y * jt.array(d)).sum(), inputs)
        np.testing.assert_array_equal(dx.numpy(), np.delete(d, np.s_[start : start + count], 1))
        np.testing.assert_array_equal(drows.numpy().reshape(rows.shape), d[:, start : start + count])


@pytest.mark.parametrize(
    "batch, length, count, width, start",
    [(1, 2, 1, 1, 0), (3, 7, 2, 5, 1), (2, 6, 4, 4, 2), (2, 9, 0, 8, 0), (0, 5, 2, 3, 1)],
)
def test_dropped_rows(batch: int, length: int, count: int, width: int, start: int) -> None:
    x, d = normal(batch, length, width), normal(batch, length - count, width, seed=1)
    variable = jt.array(x)
    y = drop_rows(variable, start, count)
    np.testing.assert_array_equal(y.numpy(), np.delete(x, np.s_[start : start + count], 1))
    if not batch:
        return
    dx = d if not count else np.insert(d, [start] * count, 0, 1)
    np.testing.assert_array_equal(jt.grad((y * jt.array(d)).sum(), variable).numpy(), dx)


@pytest.mark.parametrize(
    "rows, start", [((2, 3, 5), 0), ((1, 3, 4), 0), ((2, 3, 4), 7), ((2, 3, 4), -1), ((3, 4), 0)]
)
def test_what_does_not_fit(rows: tuple[int, ...], start: int) -> None:
    with pytest.raises(ValueError, match=rf"insert_rows.*\[2, 6, 4\].*{re.escape(str(list(rows)))}"):
        insert_rows(jt.zeros((2, 6, 4)), jt.zeros(rows), start)


@pytest.mark.parametrize("start, count", [(0, 6), (4, 3), (-1, 2), (2, -1)])
def test_rows_that_cannot_be_dropped(start: int, count: int) -> None:
    with pytest.raises(ValueError, match=rf"drop_rows.* {count} rows from {start} on.*\[2, 6, 4\]"):
        drop_rows(jt.zeros((2, 6, 4)), start, count)
