"""Decides between CUDA and the CPU, and sets what Jittor 1.3.11 reads for either while it is imported."""

import os
import re
from pathlib import Path
from typing import Dict, List, Mapping, Tuple

from jseg.runtime.cuda.detect import Cuda, detect
from jseg.runtime.cuda.driver import Driver, query_driver
from jseg.runtime.cuda.home import make_home
from jseg.runtime.device import Device, wanted_device

OURS = "JSEG_NVCC_PATH"
"""Holds the `nvcc_path` that was set here, so that a process started from this one tells it from the user's."""
FAILED = "JSEG_CUDA_FAILED"
"""Why Jittor did not start with CUDA, in the process that was started anew for the CPU."""

# Variable of Jittor -> (value, what it switches off, what that means here).
SWITCHES: Mapping[str, Tuple[str, str, str]] = {
    "conv_opt": ("1", "cuDNN, cuFFT, cuSPARSE", "unused in jseg; nn.Conv runs as generated code"),
    "use_cutt": ("0", "CUTT", "unused in jseg; a transpose of your own that moves the last axis runs on the CPU"),
    "use_cutlass": ("0", "CUTLASS", "unused in jseg"),
}


class NoCuda(Exception):
    """CUDA was asked for with --device cuda and cannot be used; the message is the reason."""


def prepare_cuda(cache: Path, compiler: str) -> Device:
    """Sets `nvcc_path` and the switches around it; overrides no variable that the user has set.

    Args:
        cache: Jittor's cache folder, which will hold the CUDA home.
        compiler: the C++ compiler. Where it is too new for nvcc and not the user's choice, `cc_path` is set to an
            older one.

    Raises:
        NoCuda: JSEG_DEVICE is cuda, and there is a reason against it.
        ValueError: JSEG_DEVICE holds no known device.
        OSError: the cache cannot be written.
    """
    wanted = wanted_device()
    if wanted == "cpu":
        return _cpu("chosen")
    chosen = os.environ.get("nvcc_path")
    if chosen is not None and chosen != os.environ.get(OURS):
        if chosen:
            _set_switches()
            os.environ.setdefault("use_nccl", "0")
            return Device("cuda", f"CUDA by nvcc_path={chosen}")
        device = _cpu("CUDA is switched off: nvcc_path is set to nothing")
    elif os.environ.get(FAILED):
        device = _cpu(os.environ[FAILED])
    else:
        device = _detected(cache, compiler)
    if wanted == "cuda" and device.kind == "cpu":
        raise NoCuda(f"--device cuda: {device.reason}; mend it or use --device cpu")
    return device


def _detected(cache: Path, compiler: str) -> Device:
    """CUDA if all is there. Without a GPU nothing but the driver is looked for."""
    driver = query_driver()
    if driver.problem:
        return _cpu(driver.problem, expected=not driver.installed)
    cuda = detect(driver)
    problem = cuda.problem
    if not problem:
        try:
            home, taken = make_home(cuda, cache, [compiler] if "cc_path" in os.environ else _compilers(compiler))
        except ValueError as error:
            problem = str(error)
        else:
            if taken != compiler:
                os.environ["cc_path"] = taken
            _use(home, cuda)
            return Device("cuda", describe(cuda))
    return _cpu(problem, expected=False)


def _compilers(first: str) -> List[str]:
    """The usual compiler and the g++-12, g++-11 ... of PATH, newest first: nvcc refuses those newer than itself."""
    found: Dict[int, str] = {}
    for folder in os.get_exec_path():
        for path in Path(folder).glob("g++-*"):
            if re.fullmatch(r"g\+\+-\d+", path.name) and path.resolve() != Path(first).resolve():
                found.setdefault(int(path.name[4:]), str(path))
    return [first, *(found[version] for version in sorted(found, reverse=True))]


def _cpu(reason: str, expected: bool = True) -> Device:
    os.environ["nvcc_path"] = os.environ[OURS] = ""
    return Device("cpu", reason, expected)


def _use(home: Path, cuda: Cuda) -> None:
    os.environ["nvcc_path"] = os.environ[OURS] = str(home / "bin" / "nvcc")
    _set_switches()
    for name, value in rank_settings(os.environ, cuda, home).items():
        os.environ[name] = value


def _set_switches() -> None:
    for variable, (value, _, _) in SWITCHES.items():
        os.environ.setdefault(variable, value)


def rank_settings(environment: Mapping[str, str], cuda: Cuda, home: Path) -> Dict[str, str]:
    """Which GPU a process of `mpirun` takes, and whether NCCL joins them.

    With NCCL every rank must see all GPUs, and Jittor takes the one of its local number. Without it, and where ranks
    share a GPU, which NCCL refuses, each rank sees one GPU alone and sums travel by MPI through host memory.

    Args:
        environment: variables of this process; those of Open MPI say which rank it is on its machine.

    Returns:
        Variables to set; none outside of `mpirun`.
    """
    if "OMPI_COMM_WORLD_LOCAL_RANK" not in environment:
        return {"use_nccl": "0"} if environment.get("use_mpi") == "1" else {}
    rank = int(environment["OMPI_COMM_WORLD_LOCAL_RANK"])
    ranks = int(environment.get("OMPI_COMM_WORLD_LOCAL_SIZE", "1"))
    nccl = cuda.libraries.get("nccl")
    wanted = environment.get("use_nccl") != "0"
    if wanted and nccl is not None and nccl.header is not None and ranks <= len(cuda.driver.gpus):
        return {"use_nccl": "1", "nccl_include_path": str(home / "include"), "nccl_lib_path": str(home / "lib64")}
    visible = [entry.strip() for entry in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if entry.strip()]
    visible = visible or [str(number) for number in range(len(cuda.driver.gpus))]
    return {"use_nccl": "0", "CUDA_VISIBLE_DEVICES": visible[rank % len(visible)]}


def describe(cuda: Cuda) -> str:
    """'CUDA 13.0 on NVIDIA H100 (sm_90, 79.6 GiB), driver for CUDA 13.0' for logs."""
    return f"CUDA {'{}.{}'.format(*cuda.toolkit.release)} on {describe_gpus(cuda.driver)}"


def describe_gpus(driver: Driver) -> str:
    """The GPUs, equal ones counted, and what the driver runs."""
    texts = [f"{gpu.name} (sm_{gpu.code}, {gpu.memory / (1 << 30):.1f} GiB)" for gpu in driver.gpus]
    counted = [f"{texts.count(text)} x {text}" if texts.count(text) > 1 else text for text in dict.fromkeys(texts)]
    return f"{', '.join(counted)}, driver for CUDA {'{}.{}'.format(*driver.version)}"
