"""AdamW on a dict of named parameters, with multipliers by name for learning rate and weight decay.

Jittor's own optimizers keep their state in lists without names, reduce gradients over MPI by themselves, and
cannot be saved as plain arrays. This one is short and saves its state as checkpoints need it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jseg.checkpoints.run_metadata import OPTIMIZER_PREFIX
from jseg.names import did_you_mean
from jseg.ops import set_value
from jseg.ops.adamw import Rates, Step, Tensor, adamw_step
from jseg.optim.base import OPTIMIZERS, Optimizer
from jseg.runtime.backend import jt

_STEPS = OPTIMIZER_PREFIX + "steps"
_MOMENTS = ("exp_avg", "exp_avg_sq")


class _Settings(NamedTuple):
    """Learning rate (before the schedule) and weight decay of one parameter."""

    lr: float
    weight_decay: float


def multiplier(name: str, table: Mapping[str, float]) -> float:
    """Returns the factor of the longest key of `table` that occurs in `name`, or 1 if none does.

    Of keys of equal length, the alphabetically first one counts. This is the rule of mmcv's
    DefaultOptimizerConstructor, applied to learning rate and weight decay separately. 'backbone' and
    'decode_head' are longer than 'norm', and so take precedence over it where both are in one table.
    """
    for key in sorted(sorted(table), key=len, reverse=True):
        if key in name:
            return float(table[key])
    return 1.0


@OPTIMIZERS.register()
class AdamW(Optimizer):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), by the formula of `torch.optim.AdamW`.

        p <- p - lr wd p;  m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2
        p <- p - lr / (1 - b1^n) * m / (sqrt(v) / sqrt(1 - b2^n) + eps),  n = 1, 2, ...

    Args:
        parameters: name -> float32 Var, the trained parameters, which are updated in place.
        lr, weight_decay, betas, eps: as above, before multipliers.
        lr_mult, decay_mult: part of a parameter name -> factor, see `multiplier`.

    Raises:
        ValueError: if a value is outside its range, there are no parameters, or no parameter name contains a
            multiplier key.
    """

    def __init__(
        self,
        parameters: dict[str, jt.Var],
        lr: float,
        weight_decay: float = 0.01,
        betas: Sequence[float] = (0.9, 0.999),
        eps: float = 1e-8,
        lr_mult: dict[str, float] | None = None,
        decay_mult: dict[str, float] | None = None,
    ) -> None:
        if not parameters:
            raise ValueError("the model has no trainable parameters, so there is nothing to optimise")
        if (
            len(betas) != 2
            or not all(0 <= beta < 1 for beta in betas)
            or lr < 0
            or weight_decay < 0
            or eps <= 0
        ):
            raise ValueError(
                f"config key optimizer: lr {lr} and weight_decay {weight_decay} must be at least 0, "
                f"eps {eps} must be above 0, and betas {betas!r} must be two numbers in [0, 1)"
            )
        for option, table in (("lr_mult", lr_mult), ("decay_mult", decay_mult)):
            _check_keys(table or {}, parameters, f"optimizer.{option}")
        self.parameters = dict(parameters)
        self.betas = (float(betas[0]), float(betas[1]))
        self.eps = float(eps)
        self.steps = 0
        self.settings = {
            name: _Settings(
                lr * multiplier(name, lr_mult or {}), weight_decay * multiplier(name, decay_mult or {})
            )
            for name in parameters
        }
        self._moments = {
            kind: {name: jt.zeros(value.shape).stop_grad() for name, value in parameters.items()}
            for kind in _MOMENTS
        }

    @property
    def base_lr(self) -> float:
        """Largest learning rate of all parameters, before the schedule."""
        return max(setting.lr for setting in self.settings.values())

    def gradients(self, loss: jt.Var) -> list[jt.Var]:
        """Returns the gradients of the scalar `loss` in the order of `parameters`, and frees its graph."""
        # retain_graph=False releases the activations. Without it, a step takes twice the memory.
        return jt.grad(loss, list(self.parameters.values()), retain_graph=False)

    def apply(self, gradients: Sequence[jt.Var], learning_rate: Callable[[float], float]) -> None:
        """Updates every parameter.

        Args:
            gradients: gradients in the order of `parameters`.
            learning_rate: schedule that maps a parameter's configured rate to its rate in this iteration.
        """
        self.steps += 1
        rates = {rate: learning_rate(rate) for rate in {setting.lr for setting in self.settings.values()}}
        means, squares = (self._moments[kind] for kind in _MOMENTS)
        old = [
            Tensor(
                parameter=value,
                gradient=gradient.stop_grad(),
                mean=means[name],
                square=squares[name],
                rates=self._rates(self.settings[name], rates[self.settings[name].lr]),
            )
            for (name, value), gradient in zip(self.parameters.items(), gradients)
        ]
        beta1, beta2 = self.betas
        step = Step(beta1, beta2, root=1.0 / math.sqrt(1.0 - beta2**self.steps), eps=self.eps)
        for before, after in zip(old, adamw_step(old, step)):
            before.parameter.update(after.parameter)
            before.mean.update(after.mean)
            before.square.update(after.square)

    def _rates(self, setting: _Settings, lr: float) -> Rates:
        """The numbers of a parameter in this step, at the rate `lr` of the schedule."""
        return Rates(decay=1.0 - lr * setting.weight_decay, rate=lr / (1.0 - self.betas[0] ** self.steps))

    def state(self) -> dict[str, np.ndarray]:
        """Returns `optimizer.exp_avg.<name>`, `optimizer.exp_avg_sq.<name>` and `optimizer.steps`."""
        arrays = {
            f"{OPTIMIZER_PREFIX}{kind}.{name}": value.numpy()
            for kind, values in self._moments.items()
            for name, value in values.items()
        }
        arrays[_STEPS] = np.array([self.steps], np.int64)
        return arrays

    def load_state(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Restores the arrays that `state` returned, and ignores other entries of `arrays`.

        Raises:
            ValueError: if an entry is missing or has the wrong shape.
        """
        wanted = {
            f"{OPTIMIZER_PREFIX}{kind}.{name}": value
            for kind, values in self._moments.items()
            for name, value in values.items()
        }
        missing: list[str] = [name for name in (*wanted, _STEPS) if name not in arrays]
        if missing:
            raise ValueError(
                f"the checkpoint has no optimizer state {missing[0]} ({len(missing)} missing); a run cannot "
                "be resumed from it, so use it with --checkpoint or init_from"
            )
        for name, value in wanted.items():
            if tuple(arrays[name].shape) != tuple(value.shape):
                raise ValueError(
                    f"optimizer state {name} has shape {tuple(arrays[name].shape)} but the model needs "
                    f"{tuple(value.shape)}; resume with the config of that run"
                )
            set_value(value, arrays[name])
            value.stop_grad()
        self.steps = int(np.asarray(arrays[_STEPS]).reshape(-1)[0])


def _check_keys(table: Mapping[str, float], parameters: Mapping[str, jt.Var], where: str) -> None:
    for key, value in table.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
            raise ValueError(
                f"config key {where}: the factor of {key!r} must be a number of at least 0, got {value!r}"
            )
        if not any(key in name for name in parameters):
            parts = {part for name in parameters for part in name.split(".") if not part.isdigit()}
            raise ValueError(
                f"config key {where}: no trained parameter has {key!r} in its name{did_you_mean(key, parts)}"
            )
