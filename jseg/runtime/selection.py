"""Selects the device of this process, and reports it. For the options, see `device`."""

import os
import sys

from jseg import progress
from jseg.runtime.command import say
from jseg.runtime.device import (
    PRECISION_VARIABLE,
    VARIABLE,
    wanted_device,
    wanted_precision,
)
from jseg.runtime.environment import EnvironmentProblem, prepare_jittor


def select_device(name: str | None, precision: str | None = None) -> None:
    """Selects the device for this process and those it starts. None keeps the environment variable.

    Raises:
        ValueError: if cuda is requested but not usable, or Jittor was already loaded for another device.
    """
    for variable, value in ((VARIABLE, name), (PRECISION_VARIABLE, precision)):
        if value is not None:
            os.environ[variable] = value
    wanted_precision()
    wanted = wanted_device()
    backend = sys.modules.get("jseg.runtime.backend")
    if backend is not None:
        if wanted not in ("auto", backend.device.kind):
            raise ValueError(
                f"--device {wanted}: Jittor already runs on {backend.device.line}; start a new process"
            )
    elif wanted == "cuda":
        try:
            prepare_jittor()
        except EnvironmentProblem as problem:
            raise ValueError(str(problem)) from problem


def name_device() -> None:
    """Prints the device on stderr, in one line and under mpirun from one process, unless output is hidden.
    Loads Jittor if necessary."""
    from jseg.runtime.backend import device

    if progress.is_hidden() or os.environ.get("OMPI_COMM_WORLD_RANK", "0") != "0":
        return
    if not (device.kind == "cpu" and device.warning):
        say(f"computing on: {device.line}", sys.stderr)
