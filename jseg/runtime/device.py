"""Which device computes: the option `--device` of the tools, and the environment variable JSEG_DEVICE behind it.

The choice must be made before Jittor is imported: Jittor is configured for a device while it loads.
"""

import argparse
import os
import sys
from dataclasses import dataclass
from typing import Optional

VARIABLE = "JSEG_DEVICE"
DEVICES = ("auto", "cpu", "cuda")


@dataclass(frozen=True)
class Device:
    """`kind` is "cpu" or "cuda"; `reason` says which GPU, or why it is the CPU.

    `expected` is False where the machine has a CUDA driver and yet the CPU computes, without having been asked to.
    """

    kind: str
    reason: str
    expected: bool = True

    @property
    def line(self) -> str:
        """For logs: 'CPU (no CUDA driver ...)', 'CUDA 13.0 on ...'."""
        return self.reason if self.kind == "cuda" else f"CPU ({self.reason})"


def add_device_option(parser: argparse.ArgumentParser) -> None:
    """Adds `--device`; hand its value to `select_device` before anything that computes is imported."""
    parser.add_argument("--device", choices=DEVICES,
                        help=f"what computes; auto takes a GPU if one is usable (default: ${VARIABLE}, else auto)")


def wanted_device() -> str:
    """What the user asked for.

    Raises:
        ValueError: JSEG_DEVICE holds no known device.
    """
    name = os.environ.get(VARIABLE) or "auto"
    if name not in DEVICES:
        raise ValueError(f"{VARIABLE}={name}: must be one of {', '.join(DEVICES)}")
    return name


def select_device(name: Optional[str]) -> None:
    """Makes the choice for this process and those it starts; None leaves JSEG_DEVICE as it is.

    Raises:
        ValueError: cuda is asked for and cannot be used, or Jittor was already loaded for another device.
    """
    if name is not None:
        os.environ[VARIABLE] = name
    wanted = wanted_device()
    backend = sys.modules.get("jseg.runtime.backend")
    if backend is not None:
        if wanted not in ("auto", backend.device.kind):
            raise ValueError(f"--device {wanted}: Jittor already runs on {backend.device.line}; start a new process")
    elif wanted == "cuda":
        from jseg.runtime.environment import EnvironmentProblem, prepare_jittor

        try:
            prepare_jittor()
        except EnvironmentProblem as problem:
            raise ValueError(str(problem)) from problem
