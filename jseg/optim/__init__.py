"""AdamW and the learning-rate schedules, which are registered when this package is imported."""

from jseg.optim.adamw import AdamW
from jseg.optim.base import OPTIMIZERS, SCHEDULERS, Optimizer, Schedule
from jseg.optim.schedule import WarmupPoly

__all__ = ["OPTIMIZERS", "SCHEDULERS", "AdamW", "Optimizer", "Schedule", "WarmupPoly"]
