"""Dropout against the definition of its pattern, forwards and backwards, and on parts of a batch."""

import numpy as np
import pytest
from op_references import dropout_factors

from jseg.ops import dropout
from jseg.ops.randomness import next_seed, set_first_sample
from jseg.runtime.backend import jt


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def expected(x: np.ndarray, rate: float, seed: int) -> np.ndarray:
    """Applies the definition to the whole batch."""
    return x * dropout_factors(1, 1, x.size // x.shape[-1], x.shape[-1], rate, seed).reshape(x.shape)


@pytest.fixture
def position():
    """Sets the position of the first sample, and resets it to 0 afterwards."""
    yield set_first_sample
    set_first_sample(0)


@pytest.mark.parametrize("shape", [(1, 1), (3, 37), (2, 5, 64), (2, 3, 4, 7), (4, 80, 130)])
@pytest.mark.parametrize("rate", [0.1, 0.75])
def test_values_and_gradient(either_path, shape, rate):
    x, d = jt.array(draw(*shape)), draw(*shape)[::-1].copy()
    np.random.seed(5)
    seed = next_seed()
    np.random.seed(5)
    y = dropout(x, rate)
    (gradient,) = jt.grad((y * jt.array(d)).sum(), [x])
    np.testing.assert_allclose(y.numpy(), expected(x.numpy(), rate, seed), rtol=1e-6)
    np.testing.assert_allclose(gradient.numpy(), expected(d, rate, seed), rtol=1e-6)


def test_parts_make_the_whole(either_path, position):
    x, parts = draw(4, 3, 50), []
    for first in (0, 2):
        position(first)
        np.random.seed(1)
        parts.append(dropout(jt.array(x[first : first + 2]), 0.3).numpy())
    position(0)
    np.random.seed(1)
    np.testing.assert_array_equal(np.concatenate(parts), dropout(jt.array(x), 0.3).numpy())


def test_no_rows_and_no_rate(either_path):
    x = jt.array(draw(2, 3))
    assert dropout(x, 0) is x
    assert dropout(jt.zeros((0, 4)), 0.5).shape == [0, 4]


@pytest.mark.parametrize("rate", [-0.1, 1.0, float("nan")])
def test_an_impossible_rate(rate):
    with pytest.raises(ValueError, match=rf"\bdropout\b.*{rate}\b.*\[2, 2\]"):
        dropout(jt.zeros((2, 2)), rate)
