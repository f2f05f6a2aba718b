"""Which device computes and how exactly: `--device` and `--precision` of the tools, JSEG_DEVICE and
JSEG_PRECISION.

The choice must be made before Jittor is imported: Jittor is configured for a device while it loads.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass

VARIABLE = "JSEG_DEVICE"
DEVICES = ("auto", "cpu", "cuda")
PRECISION_VARIABLE = "JSEG_PRECISION"
PRECISIONS = ("float32", "tf32", "bfloat16")


@dataclass(frozen=True)
class Device:
    """`kind` is "cpu" or "cuda"; `reason` says which GPU, or why it is the CPU.

    `warning` is for the user's eyes, if there is one: the machine has a CUDA driver and yet the CPU computes,
    without having been asked to, or a GPU is left out.
    """

    kind: str
    reason: str
    warning: str = ""

    @property
    def line(self) -> str:
        """For logs: 'CPU (no CUDA driver ...)', 'CUDA 13.0 on ...'."""
        return self.reason if self.kind == "cuda" else f"CPU ({self.reason})"


def add_device_options(parser: argparse.ArgumentParser) -> None:
    """Adds `--device` and `--precision`; hand them to `select_device` before anything that computes is
    imported."""
    parser.add_argument(
        "--device",
        choices=DEVICES,
        help=f"what computes; auto takes a GPU if one is usable (default: ${VARIABLE}, else auto)",
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="number format of matrix products and attention; tf32 changes nothing on a CPU "
        f"(default: ${PRECISION_VARIABLE}, else float32)",
    )


def wanted_device() -> str:
    """What the user asked for.

    Raises:
        ValueError: JSEG_DEVICE holds no known device.
    """
    return _wanted(VARIABLE, DEVICES)


def wanted_precision() -> str:
    """The number format the user asked for.

    Raises:
        ValueError: JSEG_PRECISION holds no known format.
    """
    return _wanted(PRECISION_VARIABLE, PRECISIONS)


def _wanted(variable: str, known: Sequence[str]) -> str:
    name = os.environ.get(variable) or known[0]
    if name not in known:
        raise ValueError(f"{variable}={name}: must be one of {', '.join(known)}")
    return name


def select_device(name: str | None, precision: str | None = None) -> None:
    """Makes the choice for this process and those it starts; None leaves the variable as it is.

    Raises:
        ValueError: cuda is asked for and cannot be used, or Jittor was already loaded for another device.
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
        from jseg.runtime.environment import EnvironmentProblem, prepare_jittor

        try:
            prepare_jittor()
        except EnvironmentProblem as problem:
            raise ValueError(str(problem)) from problem


def name_device() -> None:
    """Says on stderr, in one line, what computes; under mpirun one process does. Loads Jittor, unless it is
    loaded."""
    from jseg.runtime.backend import device

    if os.environ.get("OMPI_COMM_WORLD_RANK", "0") == "0" and not (device.kind == "cpu" and device.warning):
        print(f"computing on: {device.line}", file=sys.stderr, flush=True)
