"""Jittor's operators divide and take roots as IEEE 754 requires, whatever CPU they are built for."""

import numpy as np
import pytest

from jseg.runtime.backend import jt


@pytest.fixture(scope="module")
def numbers() -> np.ndarray:
    """Numbers (2, 4096) float32 over many powers of two."""
    rng = np.random.default_rng(0)
    return (rng.standard_normal((2, 4096)) * 2.0 ** rng.integers(-40, 40, (2, 4096))).astype(np.float32)


def test_quotients_are_rounded_correctly(numbers: np.ndarray) -> None:
    """An approximate reciprocal with one step of Newton's method gets some last digits wrong."""
    x, y = numbers
    np.testing.assert_array_equal((jt.array(x) / jt.array(y)).numpy(), x / y)


def test_reciprocals_and_roots_are_rounded_correctly(numbers: np.ndarray) -> None:
    x = np.abs(numbers[0])
    np.testing.assert_array_equal((1 / jt.array(x)).numpy(), 1 / x)
    np.testing.assert_array_equal(jt.sqrt(jt.array(x)).numpy(), np.sqrt(x))


def test_division_at_the_ends_of_the_range() -> None:
    """Newton's step would turn 1 / infinity and 1 / 0 into NaN, and reciprocals of large numbers into 0."""
    divisors = np.array([np.inf, -np.inf, 3e38, -3e38, 1e38, 2.0**126, 1.0, 2.0**-126] * 4, np.float32)
    np.testing.assert_array_equal((2 / jt.array(divisors)).numpy(), np.float32(2) / divisors)


def test_sigmoid_of_large_numbers_is_one() -> None:
    x = np.linspace(30, 1e4, 64, dtype=np.float32)
    np.testing.assert_array_equal(jt.sigmoid(jt.array(x)).numpy(), np.ones(64, np.float32))
    assert (jt.sigmoid(jt.array(-x)).numpy() < 1e-12).all()
