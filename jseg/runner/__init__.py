"""Train, val and test loops with checkpoints, logs and resume."""

from jseg.runner.experiment import REGISTRIES, Experiment
from jseg.runner.interrupt import Interrupted
from jseg.runner.runner import Runner

__all__ = ["REGISTRIES", "Experiment", "Interrupted", "Runner"]
