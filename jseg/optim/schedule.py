"""Learning rate over the iterations: polynomial decay under a linear warm-up.

Source: mmcv 1.4.4's PolyLrUpdaterHook with warmup='linear', as the CLIP-RC releases configure it.
"""

from jseg.optim.base import SCHEDULERS, Schedule


@SCHEDULERS.register()
class WarmupPoly(Schedule):
    """lr(t) = ((base - min_lr) (1 - t / max_iters)^power + min_lr) * warm(t), t counted from 0.

    warm(t) = 1 - (1 - t / warmup_iters) (1 - warmup_ratio) for t < warmup_iters, then 1.

    Args:
        max_iters: T, the number of iterations of the run.
        power: exponent of the decay.
        min_lr: final learning rate, the same for every parameter group.
        warmup_iters: length of the warm-up, 0 for none.
        warmup_ratio: factor at t = 0.

    Raises:
        ValueError: a value outside its range.
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
                f"min_lr {min_lr} and warmup_iters {warmup_iters} at least 0, warmup_ratio {warmup_ratio} "
                "in 0..1"
            )
        self.max_iters = max_iters
        self.power = power
        self.min_lr = min_lr
        self.warmup_iters = warmup_iters
        self.warmup_ratio = warmup_ratio

    def __call__(self, base_lr: float, iteration: int) -> float:
        """Learning rate at `iteration` (0-based) of a group whose configured rate is `base_lr`."""
        left = max(0.0, 1.0 - iteration / self.max_iters)
        value = (base_lr - self.min_lr) * left**self.power + self.min_lr
        if iteration < self.warmup_iters:
            value *= 1.0 - (1.0 - iteration / self.warmup_iters) * (1.0 - self.warmup_ratio)
        return value
