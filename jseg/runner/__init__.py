"""Train, val and test loops with checkpoints, logs and resume."""

from jseg.runner.interrupt import Interrupted
from jseg.runner.paths import resolve_path
from jseg.runner.runner import REGISTRIES, Runner

__all__ = ["REGISTRIES", "Interrupted", "Runner", "resolve_path"]
