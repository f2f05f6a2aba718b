"""A step of AdamW in float64, and tensors for it."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from number_formats import ON_GPU
from op_references import relative_error

from jseg.ops.adamw import Rates, Step, Tensor, adamw_step
from jseg.runtime.backend import jt

NUMBERS = Step(beta1=0.9, beta2=0.99, root=3.5, eps=1e-8)


ERROR = 1e-5 if ON_GPU else 1e-6
"""Relative error. For GPUs, Jittor compiles with --use_fast_math, whose division and root are less exact."""


class Arrays(NamedTuple):
    """What a step of one tensor gets."""

    parameter: np.ndarray
    gradient: np.ndarray
    mean: np.ndarray
    square: np.ndarray
    rates: Rates


def random_arrays(shapes: Sequence[tuple[int, ...]], seed: int = 0) -> list[Arrays]:
    """Arrays of these shapes, with gradients of all magnitudes and other rates for each."""
    rng = np.random.default_rng(seed)
    drawn = []
    for shape in shapes:
        parameter, gradient, mean, square = rng.standard_normal((4, *shape)).astype(np.float32)
        scale = np.float32(10.0 ** rng.integers(-6, 3))
        rates = Rates(decay=1 - rng.uniform(0, 0.1), rate=rng.uniform(1e-3, 1e-1))
        drawn.append(Arrays(parameter, gradient * scale, mean * scale, (square * scale) ** 2, rates))
    return drawn


def tensors_of(arrays: Sequence[Arrays]) -> list[Tensor]:
    """The arrays as tensors of Jittor."""
    return [Tensor(*(jt.array(array) for array in each[:4]), rates=each.rates) for each in arrays]


def assert_step(shapes: Sequence[tuple[int, ...]], seed: int = 0) -> None:
    """Compares a step of random tensors with `adamw_float64`."""
    arrays = random_arrays(shapes, seed)
    updated = adamw_step(tensors_of(arrays), NUMBERS)
    assert len(updated) == len(arrays)
    for each, new in zip(arrays, updated):
        for value, expected in zip(new, adamw_float64(each, NUMBERS)):
            assert tuple(value.shape) == each.parameter.shape and value.dtype == "float32"
            if expected.size:
                assert relative_error(value.numpy(), expected) < ERROR


def adamw_float64(arrays: Arrays, step: Step) -> tuple[np.ndarray, ...]:
    """The new parameter, mean and square."""
    p, g, mean, square = (array.astype(np.float64) for array in arrays[:4])
    mean = step.beta1 * mean + (1 - step.beta1) * g
    square = step.beta2 * square + (1 - step.beta2) * g**2
    change = mean / (np.sqrt(square) * step.root + step.eps)
    return p * arrays.rates.decay - change * arrays.rates.rate, mean, square
