"""Device and precision: `--device` and `--precision` of the tools, JSEG_DEVICE and JSEG_PRECISION.

They must be set before Jittor is imported, since Jittor is configured for a device while it loads.
"""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass

VARIABLE = "JSEG_DEVICE"
DEVICES = ("auto", "cpu", "cuda")
PRECISION_VARIABLE = "JSEG_PRECISION"
PRECISIONS = ("float32", "tf32", "bfloat16")


@dataclass(frozen=True)
class Device:
    """`kind` is "cpu" or "cuda". `reason` describes the GPU, or the reason for using the CPU.

    `warning`, if any, is shown to the user: the machine has a CUDA driver, but the CPU is used without having
    been requested, or a GPU is excluded.
    """

    kind: str
    reason: str
    warning: str = ""

    @property
    def line(self) -> str:
        """Description for logs: 'CPU (no CUDA driver ...)', 'CUDA 13.0 on ...'."""
        return self.reason if self.kind == "cuda" else f"CPU ({self.reason})"


def add_device_options(parser: argparse.ArgumentParser) -> None:
    """Adds `--device` and `--precision`. Pass them to `selection.select_device` before importing anything
    that computes."""
    parser.add_argument(
        "--device",
        choices=DEVICES,
        help=f"device to use; auto selects a GPU if one is usable (default: ${VARIABLE}, else auto)",
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        help="number format of matrix products and attention; tf32 has no effect on a CPU "
        f"(default: ${PRECISION_VARIABLE}, else float32)",
    )


def wanted_device() -> str:
    """Returns the requested device.

    Raises:
        ValueError: if JSEG_DEVICE is not a known device.
    """
    return _wanted(VARIABLE, DEVICES)


def wanted_precision() -> str:
    """Returns the requested number format.

    Raises:
        ValueError: if JSEG_PRECISION is not a known format.
    """
    return _wanted(PRECISION_VARIABLE, PRECISIONS)


def _wanted(variable: str, known: Sequence[str]) -> str:
    name = os.environ.get(variable) or known[0]
    if name not in known:
        raise ValueError(f"{variable}={name}: must be one of {', '.join(known)}")
    return name
