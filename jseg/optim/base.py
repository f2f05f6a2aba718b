"""Contracts of optimizers and learning-rate schedules with the training loop, and their registries."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from jseg.registry import Registry
from jseg.runtime.backend import jt


class Optimizer:
    """Base class of optimizers, which update named parameters in place.

    The runner supplies the argument `parameters`.

    Attributes:
        parameters: name -> float32 Var.
    """

    parameters: dict[str, jt.Var]

    @property
    @abstractmethod
    def base_lr(self) -> float:
        """Largest learning rate of all parameters, before the schedule."""

    def step(self, loss: jt.Var, learning_rate: Callable[[float], float]) -> None:
        """Calls `apply` with the `gradients` of `loss`."""
        self.apply(self.gradients(loss), learning_rate)

    @abstractmethod
    def gradients(self, loss: jt.Var) -> list[jt.Var]:
        """Returns the gradients of the scalar `loss` in the order of `parameters`, and frees its graph."""

    @abstractmethod
    def apply(self, gradients: Sequence[jt.Var], learning_rate: Callable[[float], float]) -> None:
        """Updates every parameter.

        Args:
            gradients: gradients in the order of `parameters`.
            learning_rate: schedule that maps a parameter's configured rate to its rate in this iteration.
        """

    @abstractmethod
    def state(self) -> dict[str, np.ndarray]:
        """Returns everything that a resumed run needs, under names that begin with "optimizer."."""

    @abstractmethod
    def load_state(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Restores the arrays that `state` returned.

        Raises:
            ValueError: if an array is missing or has the wrong shape.
        """


class Schedule:
    """Base class of schedules, which give the learning rate of each iteration.

    The runner supplies the argument `max_iters`.
    """

    @abstractmethod
    def __call__(self, base_lr: float, iteration: int) -> float:
        """Returns the rate at `iteration`, counted from 0, for parameters whose base rate is `base_lr`."""


OPTIMIZERS = Registry("optimizer", Optimizer, supplied=("parameters",))
SCHEDULERS = Registry("scheduler", Schedule, supplied=("max_iters",))
