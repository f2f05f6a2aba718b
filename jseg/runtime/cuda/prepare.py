"""Chooses between CUDA and the CPU, and sets the variables that Jittor 1.3.11 reads during its import."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from jseg.runtime.cuda.detect import Cuda, detect
from jseg.runtime.cuda.driver import Driver, query_driver
from jseg.runtime.cuda.home import make_home
from jseg.runtime.device import Device, wanted_device

OURS = "JSEG_NVCC_PATH"
"""Variable with the `nvcc_path` set by jseg, so that a child process can tell it from the user's."""
FAILED = "JSEG_CUDA_FAILED"
"""Variable with the reason why Jittor did not start with CUDA, for this process and those it starts."""

_LOCAL_RANK = "OMPI_COMM_WORLD_LOCAL_RANK"

# Variable of Jittor -> (value, what it disables, consequences).
SWITCHES: Mapping[str, tuple[str, str, str]] = {
    "conv_opt": ("1", "cuDNN, cuFFT, cuSPARSE", "unused in jseg; nn.Conv runs as generated code"),
    "use_cutt": (
        "0",
        "CUTT",
        "unused in jseg; your own transposes of the last axis run on the CPU",
    ),
    "use_cutlass": ("0", "CUTLASS", "unused in jseg, and in Jittor's own operators"),
}


class NoCuda(Exception):
    """CUDA cannot be used, and the CPU must not be used instead. The message is the reason."""


def prepare_cuda(cache: Path, compiler: str) -> Device:
    """Sets `nvcc_path` and related variables, but none that the user has set.

    Args:
        cache: Jittor's cache folder, which will contain the CUDA home.
        compiler: the C++ compiler. If it is too new for nvcc and was not chosen by the user, `cc_path` is set
            to an older one.

    Raises:
        NoCuda: if JSEG_DEVICE is cuda but CUDA is not usable, or the GPU of an mpirun process fails.
        ValueError: if JSEG_DEVICE is not a known device.
        OSError: if the cache cannot be written.
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
    """Returns CUDA if everything is available. Without a GPU, only the driver is queried."""
    rank = os.environ.get(_LOCAL_RANK)
    driver = query_driver(rank or "first")
    if driver.problem:
        if rank is not None and driver.refused:
            # The other processes have their own GPUs, and with NCCL they would wait for this one forever.
            raise NoCuda(f"{driver.problem}, exclude it with CUDA_VISIBLE_DEVICES, or use --device cpu")
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
    """`make_home` with `compiler`, or with older ones if it is too new for nvcc and not the user's choice."""
    return make_home(cuda, cache, [compiler] if "cc_path" in os.environ else _compilers(compiler))


def _compilers(first: str) -> list[str]:
    """Returns the default compiler, and g++-12, g++-11 ... on PATH, newest first: nvcc refuses newer ones."""
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
    """Returns the GPUs that this process sees, and for a process of `mpirun`, whether it uses NCCL.

    With NCCL, every rank must see all GPUs, and Jittor uses the one with its local number. Without NCCL, and
    if ranks share a GPU, which NCCL does not support, each rank sees only one GPU, and sums use MPI through
    host memory.

    Args:
        environment: variables of this process. Those of Open MPI give its rank on this machine. If `use_nccl`
            or the paths of NCCL are set, they are kept.

    Returns:
        Variables to set. Outside `mpirun`, only CUDA_VISIBLE_DEVICES, if a GPU is excluded.
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
    """Description for logs: 'CUDA 13.0 on NVIDIA H100 (sm_90, 79.6 GiB), driver for CUDA 13.0'."""
    return f"CUDA {'{}.{}'.format(*cuda.toolkit.release)} on {describe_gpus(cuda.driver)}"


def describe_gpus(driver: Driver) -> str:
    """Describes the GPUs, with the number of equal ones, and the driver's CUDA version."""
    texts = [f"{gpu.name} (sm_{gpu.code}, {gpu.memory / (1 << 30):.1f} GiB)" for gpu in driver.gpus]
    counted = [
        f"{texts.count(text)} x {text}" if texts.count(text) > 1 else text for text in dict.fromkeys(texts)
    ]
    return f"{', '.join(counted)}, driver for CUDA {'{}.{}'.format(*driver.version)}"
