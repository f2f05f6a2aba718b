"""Mean differences against float64."""

import numpy as np
import pytest
from op_references import relative_error

from jseg.ops import mean_difference
from jseg.runtime.backend import jt


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("shape", [(1, 1, 3), (2, 90, 333)])
def test_values_and_gradients(either_path: str, shape: tuple[int, ...], power: int) -> None:
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(shape).astype(np.float32) for _ in range(2))
    if either_path == "1":
        b.flat[0] = a.flat[0]  # |x| has no slope at 0: the kernel counts it as 0, Jittor's own as 1
    x, target = jt.array(a), jt.array(b)
    mean = mean_difference(x, target, power)
    difference = a.astype(np.float64) - b
    assert mean.item() == pytest.approx((np.abs(difference) ** power).mean(), rel=1e-6)
    wanted = (np.sign(difference) if power == 1 else 2 * difference) * 3 / a.size
    found, nothing = jt.grad(3 * mean, [x, target])
    assert relative_error(found.numpy(), wanted) < 1e-6
    assert not nothing.numpy().any()


def test_tens_of_millions_lose_no_digits() -> None:
    """Twenty million numbers near 0.1: one float32 sum stops growing at two millions, 12 % too low here."""
    n = 20_000_000
    values = (0.1 + 1e-3 * np.arange(n, dtype=np.float32) / n).astype(np.float32).reshape(1, 4000, 5000)
    found = mean_difference(jt.array(values), jt.zeros(values.shape), 1).item()
    assert found == pytest.approx(values.mean(dtype=np.float64), rel=1e-6)


def test_wrong_inputs_are_named() -> None:
    x = jt.zeros((1, 2, 3))
    for target, power in ((jt.zeros((1, 2, 2)), 1), (x, 3)):
        with pytest.raises(ValueError, match="power"):
            mean_difference(x, target, power)
