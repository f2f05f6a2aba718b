"""Which device computes and how exactly: `--device` and
`--precision` of the tools, JSEG_DEVICE and JSEG_PRECISION.

The choice must be made before Jittor is imported: Jittor is configured for a device while it loads.
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
    """Adds `--device` and `--precision`; hand them to
    `selection.select_device` before anything that computes is imported."""
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
