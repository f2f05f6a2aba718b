"""The CUDA driver and its GPUs."""

import ctypes
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Tuple

_PROBE = Path(__file__).with_name("probe.py")
_PROBE_SECONDS = 120  # a GPU that was asleep, without persistence mode, on a machine with eight of them


@dataclass(frozen=True)
class Gpu:
    """One device. `capability` is (9, 0) for sm_90; `memory` in bytes."""

    name: str
    capability: Tuple[int, int]
    memory: int

    @property
    def code(self) -> int:
        """The number of its architecture: 90 for sm_90."""
        return 10 * self.capability[0] + self.capability[1]


@dataclass(frozen=True)
class Driver:
    """`version` is the newest CUDA the driver can run, (0, 0) without a driver; `problem` says why no GPU is usable."""

    version: Tuple[int, int]
    gpus: Tuple[Gpu, ...]
    problem: str

    @property
    def installed(self) -> bool:
        return self.version != (0, 0)


def query_driver() -> Driver:
    """The driver and the GPUs this process may use (CUDA_VISIBLE_DEVICES counts)."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        missing = "cannot open shared object" in str(error)
        return Driver((0, 0), (), "no CUDA driver (libcuda.so.1) on this machine" if missing
                      else f"the CUDA driver does not load: {error}")
    try:
        answer = subprocess.run([sys.executable, str(_PROBE)], capture_output=True, text=True, timeout=_PROBE_SECONDS)
        found = json.loads(answer.stdout)
    except subprocess.TimeoutExpired:
        return Driver((0, 0), (), f"the CUDA driver does not answer within {_PROBE_SECONDS} s; restart the machine")
    except (OSError, ValueError):
        return Driver((0, 0), (), "the CUDA driver crashes when it is asked for its devices; install it again")
    version = divmod(found["version"], 1000)
    gpus = tuple(Gpu(gpu["name"], tuple(gpu["capability"]), gpu["memory"]) for gpu in found["gpus"])
    problem = found["problem"] and f"the CUDA driver reports no usable device: {found['problem']}"
    if not gpus and not problem:
        problem = "the CUDA driver reports no device (CUDA_VISIBLE_DEVICES may hide it)"
    return Driver((version[0], version[1] // 10), gpus, problem)
