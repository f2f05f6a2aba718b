"""The CUDA driver and its GPUs."""

import ctypes
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

_PROBE = Path(__file__).with_name("probe.py")
_PROBE_SECONDS = 60.0  # eight GPUs without persistence mode may take this long
_PATIENCE_SECONDS = 5.0  # then the user is told about the wait
_STUB = "CUDA_ERROR_STUB_LIBRARY"
# Part of the driver's error -> advice.
_FIXES = {
    "CUDA_ERROR_NO_DEVICE": "attach a GPU (a container needs --gpus all)",
    "CUDA_ERROR_OUT_OF_MEMORY": "end the programs that fill it (nvidia-smi lists them)",
    "CUDA_ERROR_DEVICE_UNAVAILABLE": "end the program that holds it alone (nvidia-smi shows the compute "
    "mode)",
    "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH": "restart the machine: driver and kernel module differ",
    "CUDA_ERROR_SYSTEM_NOT_READY": "start nvidia-fabricmanager",
    "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE": "take the folder cuda/compat off LD_LIBRARY_PATH",
}
_OTHER_FIX = "see what nvidia-smi and the kernel's log say"


@dataclass(frozen=True)
class Gpu:
    """One device. `capability` is (9, 0) for sm_90, and `memory` is in bytes. `number` is the driver's, among
    those left by CUDA_VISIBLE_DEVICES. `problem` is the reason why it cannot be used, with advice after "; ",
    or ""."""

    name: str
    capability: tuple[int, int]
    memory: int
    number: int = 0
    problem: str = ""

    @property
    def code(self) -> int:
        """Number of its architecture: 90 for sm_90."""
        return 10 * self.capability[0] + self.capability[1]

    @property
    def refusal(self) -> str:
        """'GPU 1 (NVIDIA H100): cuMemAlloc_v2 fails with ...; advice', for a GPU with a problem."""
        return f"GPU {self.number} ({self.name}): {self.problem}"


@dataclass(frozen=True)
class Driver:
    """`version` is the newest CUDA that the driver can run, (0, 0) if unknown. `gpus` are those not known to
    be unusable, and `refused` those that are. `problem` is the reason why none can be used. `installed`: the
    driver's library exists."""

    version: tuple[int, int]
    gpus: tuple[Gpu, ...]
    problem: str
    refused: tuple[Gpu, ...] = ()
    installed: bool = True


def query_driver(tried: str = "first") -> Driver:
    """Queries the driver for the GPUs that this process may use, under CUDA_VISIBLE_DEVICES.

    Args:
        tried: GPUs on which a little memory is allocated as a test: "first" tries them in order up to the
            first success, which is the one that Jittor uses; "every" tries all; the local number of a process
            of mpirun ("0", "1" ...) tries its own.
    """
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        if "cannot open shared object" in str(error):
            return Driver((0, 0), (), "no CUDA driver (libcuda.so.1) on this machine", installed=False)
        return Driver((0, 0), (), f"the CUDA driver does not load: {error}; install the driver again")
    try:
        found = json.loads(_answer(tried))
    except subprocess.TimeoutExpired:
        return Driver(
            (0, 0), (), f"the CUDA driver does not answer within {_PROBE_SECONDS:.0f} s; restart the machine"
        )
    except (OSError, ValueError):
        return Driver(
            (0, 0), (), "the CUDA driver crashes when it lists its devices; install the driver again"
        )
    version = divmod(found["version"], 1000)
    gpus = [
        Gpu(gpu["name"], tuple(gpu["capability"]), gpu["memory"], number, _with_fix(gpu["problem"]))
        for number, gpu in enumerate(found["gpus"])
    ]
    usable = tuple(gpu for gpu in gpus if not gpu.problem)
    refused = tuple(gpu for gpu in gpus if gpu.problem)
    needed = usable if tried in ("first", "every") else not refused
    problem = _problem(found["problem"], gpus) if found["problem"] or not needed else ""
    return Driver((version[0], version[1] // 10), usable, problem, refused)


def _answer(tried: str) -> str:
    """Returns the output of the probe. If a driver hangs in the kernel, the probe cannot be killed and is
    abandoned.

    Raises:
        subprocess.TimeoutExpired: if it takes longer than `_PROBE_SECONDS`.
    """
    probe = subprocess.Popen(
        [sys.executable, str(_PROBE), tried], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        return probe.communicate(timeout=_PATIENCE_SECONDS)[0]
    except subprocess.TimeoutExpired:
        print(
            f"waiting for the CUDA driver, up to {_PROBE_SECONDS:.0f} s (JSEG_DEVICE=cpu avoids this)",
            file=sys.stderr,
            flush=True,
        )
    try:
        return probe.communicate(timeout=max(0.0, _PROBE_SECONDS - _PATIENCE_SECONDS))[0]
    except subprocess.TimeoutExpired:
        probe.kill()
        raise


def _problem(of_the_driver: str, gpus: list[Gpu]) -> str:
    """Returns the reason why no GPU can be used, with advice after "; "."""
    if _STUB in of_the_driver:
        return "libcuda.so.1 is the stub of a toolkit, not a driver; take its folder off LD_LIBRARY_PATH"
    if of_the_driver:
        return f"the CUDA driver reports no usable device: {_with_fix(of_the_driver)}"
    refused = next((gpu for gpu in gpus if gpu.problem), None)
    if refused is not None:
        return f"the GPU refuses work: {refused.refusal}"
    return "the CUDA driver reports no device; check CUDA_VISIBLE_DEVICES, which may hide it"


def _with_fix(problem: str) -> str:
    fix = next((fix for part, fix in _FIXES.items() if part in problem), _OTHER_FIX)
    return f"{problem}; {fix}" if problem else ""
