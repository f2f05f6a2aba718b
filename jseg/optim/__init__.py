"""AdamW and the learning-rate schedules; importing this package fills `OPTIMIZERS` and `SCHEDULERS`."""

from jseg.optim.adamw import AdamW
from jseg.optim.base import Optimizer
from jseg.optim.schedule import WarmupPoly

__all__ = ["AdamW", "Optimizer", "WarmupPoly"]
