"""Learning rate over the iterations, with polynomial decay and a linear warm-up.

Source: PolyLrUpdaterHook of mmcv 1.4.4 with warmup='linear', as configured in the CLIP-RC release.
"""

from jseg.optim.base import SCHEDULERS, Schedule


@SCHEDULERS.register()
class WarmupPoly(Schedule):
    """Polynomial decay with a linear warm-up.

    lr(t) = ((base - min_lr) (1 - t / max_iters)^power + min_lr) * warm(t), with t counted from 0, and
    warm(t) = 1 - (1 - t / warmup_iters) (1 - warmup_ratio) for t < warmup_iters, then 1.

    Args:
        max_iters: number of iterations of the run.
        power: exponent of the decay.
        min_lr: final learning rate, the same for every parameter group.
        warmup_iters: length of the warm-up in iterations, 0 for none.
        warmup_ratio: factor at t = 0.

    Raises:
        ValueError: if a value is outside its range.
    """

    def __init__(
        self,
        max_iters: int,
        power: float = 0.9,
        min_lr: float = 1e-6,
        warmup_iters: int = 1500,
        warmup_ratio: float = 1e-6,
    ) -> None:
        if max_iters < 1 or power < 0 or min_lr < 0 or warmup_iters < 0 or not 0 <= warmup_ratio <= 1:
            raise ValueError(
                f"config key scheduler: max_iters {max_iters} must be at least 1, power {power}, "
                f"min_lr {min_lr} and warmup_iters {warmup_iters} must be at least 0, and "
                f"warmup_ratio {warmup_ratio} must be in 0..1"
            )
        self.max_iters = max_iters
        self.power = power
        self.min_lr = min_lr
        self.warmup_iters = warmup_iters
        self.warmup_ratio = warmup_ratio

    def __call__(self, base_lr: float, iteration: int) -> float:
        """Returns the rate at `iteration`, counted from 0, for parameters whose base rate is `base_lr`."""
        left = max(0.0, 1.0 - iteration / self.max_iters)
        value = (base_lr - self.min_lr) * left**self.power + self.min_lr
        if iteration < self.warmup_iters:
            value *= 1.0 - (1.0 - iteration / self.warmup_iters) * (1.0 - self.warmup_ratio)
        return value
