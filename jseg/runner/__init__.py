"""Train, val and test loops with checkpoints, logs and resume.

The names below are imported on first use: they load Jittor, which `jseg.runner.stored_masks` does without.
"""

from importlib import import_module
from typing import Any

_MODULES = {
    "REGISTRIES": "jseg.runner.runner",
    "Interrupted": "jseg.runner.interrupt",
    "Runner": "jseg.runner.runner",
    "resolve_path": "jseg.runner.paths",
}

__all__ = ["REGISTRIES", "Interrupted", "Runner", "resolve_path"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_MODULES[name]), name)
