"""The contracts between optimizers, learning rate schedules and the training loop, and their registries."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from jseg.registry import Registry
from jseg.runtime.backend import jt


class Optimizer:
    """Updates named parameters in place. The runner offers `parameters`.

    Attributes:
        parameters: name -> float32 Var.
    """

    parameters: dict[str, jt.Var]

    @property
    @abstractmethod
    def base_lr(self) -> float:
        """The largest learning rate of any parameter, before the schedule."""

    def step(self, loss: jt.Var, learning_rate: Callable[[float], float]) -> None:
        """`apply` with the `gradients` of `loss`."""
        self.apply(self.gradients(loss), learning_rate)

    @abstractmethod
    def gradients(self, loss: jt.Var) -> list[jt.Var]:
        """Gradients of the scalar `loss` in the order of `parameters`; frees its graph."""

    @abstractmethod
    def apply(self, gradients: Sequence[jt.Var], learning_rate: Callable[[float], float]) -> None:
        """Updates every parameter.

        Args:
            gradients: in the order of `parameters`.
            learning_rate: the schedule, a parameter's configured rate -> its rate in this iteration.
        """

    @abstractmethod
    def state(self) -> dict[str, np.ndarray]:
        """Everything that a resumed run needs, under names that begin with "optimizer."."""

    @abstractmethod
    def load_state(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Takes over the arrays of `state`.

        Raises:
            ValueError: they are missing or of another shape.
        """


class Schedule:
    """The learning rate of each iteration. The runner offers `max_iters`."""

    @abstractmethod
    def __call__(self, base_lr: float, iteration: int) -> float:
        """Learning rate at `iteration`, counted from 0, of parameters whose configured rate is `base_lr`."""


OPTIMIZERS = Registry("optimizer", Optimizer, supplied=("parameters",))
SCHEDULERS = Registry("scheduler", Schedule, supplied=("max_iters",))
