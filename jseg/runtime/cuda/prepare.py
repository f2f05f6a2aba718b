"""Decides between CUDA and the CPU, and sets what Jittor 1.3.11 reads for either while it is imported."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from jseg.runtime.cuda.detect import Cuda, detect
from jseg.runtime.cuda.driver import Driver, query_driver
from jseg.runtime.cuda.home import make_home
from jseg.runtime.device import Device, wanted_device

OURS = "JSEG_NVCC_PATH"
"""Holds the `nvcc_path` that was set here, so that a process
started from this one tells it from the user's."""
FAILED = "JSEG_CUDA_FAILED"
"""Why Jittor did not start with CUDA, in this process and those it starts."""

_LOCAL_RANK = "OMPI_COMM_WORLD_LOCAL_RANK"

# Variable of Jittor -> (value, what it switches off, what that means here).
SWITCHES: Mapping[str, tuple[str, str, str]] = {
    "conv_opt": ("1", "cuDNN, cuFFT, cuSPARSE", "unused in jseg; nn.Conv runs as generated code"),
    "use_cutt": (
        "0",
        "CUTT",
        "unused in jseg; a transpose of your own that moves the last axis runs on the CPU",
    ),
    "use_cutlass": ("0", "CUTLASS", "unused in jseg, and in Jittor's own operators"),
}


class NoCuda(Exception):
    """CUDA cannot be used and the CPU must not take its place; the message is the reason."""


def prepare_cuda(cache: Path, compiler: str) -> Device:
    """Sets `nvcc_path` and the switches around it; overrides no variable that the user has set.

    Args:
        cache: Jittor's cache folder, which will hold the CUDA home.
        compiler: the C++ compiler. Where it is too new for nvcc and not the user's choice, `cc_path` is set
            to an older one.

    Raises:
        NoCuda: JSEG_DEVICE is cuda and there is a reason against it, or the GPU of a process of mpirun
            refuses work.
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
        raise NoCuda(f"--device cuda: {device.reason}; fix it or use --device cpu")
    return device


def _detected(cache: Path, compiler: str) -> Device:
    """CUDA if all is there. Without a GPU nothing but the driver is looked for."""
    rank = os.environ.get(_LOCAL_RANK)
    driver = query_driver(rank or "first")
    if driver.problem:
        if rank is not None and driver.refused:
            # The other processes have GPUs of their own, and with NCCL they would wait for this one for ever.
            raise NoCuda(f"{driver.problem}, leave it out by CUDA_VISIBLE_DEVICES, or use --device cpu")
        return _cpu(driver.problem, unasked=driver.installed)
    cuda = detect(driver)
    if cuda.problem:
        return _cpu(cuda.problem, unasked=True)
    try:
        home, taken = checked_home(cuda, cache, compiler)
    except ValueError as error:
        return _cpu(str(error), unasked=True)
    if taken != compiler:
        os.environ["cc_path"] = taken
    _use(home, cuda)
    left_out = ", ".join(gpu.refusal for gpu in cuda.driver.refused)
    return Device("cuda", describe(cuda), left_out and f"left out: {left_out}")


def checked_home(cuda: Cuda, cache: Path, compiler: str) -> tuple[Path, str]:
    """`make_home` with `compiler`, and with older ones where it is
    too new for nvcc and not the user's choice."""
    return make_home(cuda, cache, [compiler] if "cc_path" in os.environ else _compilers(compiler))


def _compilers(first: str) -> list[str]:
    """The usual compiler and the g++-12, g++-11 ... of PATH, newest
    first: nvcc refuses those newer than itself."""
    found: dict[int, str] = {}
    for folder in os.get_exec_path():
        for path in Path(folder).glob("g++-*"):
            if re.fullmatch(r"g\+\+-\d+", path.name) and path.resolve() != Path(first).resolve():
                found.setdefault(int(path.name[4:]), str(path))
    return [first, *(found[version] for version in sorted(found, reverse=True))]


def _cpu(reason: str, unasked: bool = False) -> Device:
    os.environ["nvcc_path"] = os.environ[OURS] = ""
    return Device("cpu", reason, f"computing on the CPU: {reason}" if unasked else "")


def _use(home: Path, cuda: Cuda) -> None:
    os.environ["nvcc_path"] = os.environ[OURS] = str(home / "bin" / "nvcc")
    _set_switches()
    for name, value in rank_settings(os.environ, cuda, home).items():
        os.environ[name] = value


def _set_switches() -> None:
    for variable, (value, _, _) in SWITCHES.items():
        os.environ.setdefault(variable, value)


def rank_settings(environment: Mapping[str, str], cuda: Cuda, home: Path) -> dict[str, str]:
    """Which GPUs this process sees, and for one of `mpirun` whether NCCL joins it with the others.

    With NCCL every rank must see all GPUs, and Jittor takes the one of its local number. Without it, and
    where ranks share a GPU, which NCCL refuses, each rank sees one GPU alone and sums travel by MPI through
    host memory.

    Args:
        environment: variables of this process; those of Open MPI say which rank it is on its machine. A
            `use_nccl` that is set stays, and so do the paths of NCCL.

    Returns:
        Variables to set: outside of `mpirun` only CUDA_VISIBLE_DEVICES, where a GPU is left out.
    """
    named = [
        entry.strip() for entry in environment.get("CUDA_VISIBLE_DEVICES", "").split(",") if entry.strip()
    ]
    visible = [named[gpu.number] if named else str(gpu.number) for gpu in cuda.driver.gpus]
    settings = {"CUDA_VISIBLE_DEVICES": ",".join(visible)} if cuda.driver.refused else {}
    chosen = environment.get("use_nccl")
    if _LOCAL_RANK not in environment:
        alone = environment.get("use_mpi") == "1" and chosen is None
        return {**settings, "use_nccl": "0"} if alone else settings
    rank, ranks = int(environment[_LOCAL_RANK]), int(environment.get("OMPI_COMM_WORLD_LOCAL_SIZE", "1"))
    nccl = cuda.libraries.get("nccl")
    found = nccl is not None and nccl.header is not None
    if chosen == "1" or (chosen is None and found and ranks <= len(visible)):
        paths = (
            {"nccl_include_path": str(home / "include"), "nccl_lib_path": str(home / "lib64")}
            if found
            else {}
        )
        settings.update({"use_nccl": "1", **paths})
        return {
            name: value
            for name, value in settings.items()
            if name == "CUDA_VISIBLE_DEVICES" or name not in environment
        }
    return {"use_nccl": "0", "CUDA_VISIBLE_DEVICES": visible[rank % len(visible)]}


def describe(cuda: Cuda) -> str:
    """'CUDA 13.0 on NVIDIA H100 (sm_90, 79.6 GiB), driver for CUDA 13.0' for logs."""
    return f"CUDA {'{}.{}'.format(*cuda.toolkit.release)} on {describe_gpus(cuda.driver)}"


def describe_gpus(driver: Driver) -> str:
    """The GPUs, equal ones counted, and what the driver runs."""
    texts = [f"{gpu.name} (sm_{gpu.code}, {gpu.memory / (1 << 30):.1f} GiB)" for gpu in driver.gpus]
    counted = [
        f"{texts.count(text)} x {text}" if texts.count(text) > 1 else text for text in dict.fromkeys(texts)
    ]
    return f"{', '.join(counted)}, driver for CUDA {'{}.{}'.format(*driver.version)}"
