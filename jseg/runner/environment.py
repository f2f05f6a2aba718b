"""Records what a run ran on, in `environment.json` of its work folder."""

import json
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from jseg import __version__
from jseg.distributed import world_size
from jseg.files import PathLike, expanded, replacing
from jseg.runtime.backend import device
from jseg.runtime.machine import cpu_name, usable_cores

ENVIRONMENT = "environment.json"


def describe_environment() -> dict[str, Any]:
    """Returns versions, the CPU with the usable cores, the device, and the number of processes."""
    try:
        jittor = version("jittor")
    except PackageNotFoundError:
        jittor = "unknown"
    return {
        "jseg": __version__,
        "jittor": jittor,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "system": platform.platform(),
        "cpu": cpu_name(),
        "cores": usable_cores(),
        "device": device.line,
        "processes": world_size(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
    }


def save_environment(work_dir: PathLike) -> None:
    """Writes `environment.json`.

    Raises:
        OSError: if it cannot be written.
    """
    folder = expanded(work_dir)
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(folder / ENVIRONMENT) as temporary:
        temporary.write_text(json.dumps(describe_environment(), indent=1) + "\n", encoding="utf-8")
