"""The CUDA part of the doctor's report: driver, GPUs, toolkit, library versions, and disabled features."""

import os
import shutil
from pathlib import Path
from typing import NamedTuple

from jseg.runtime.cuda.detect import REQUIRED, Cuda, detect
from jseg.runtime.cuda.driver import query_driver
from jseg.runtime.cuda.prepare import FAILED, OURS, SWITCHES, checked_home, describe_gpus
from jseg.runtime.cuda.toolkit import HOME_VARIABLES
from jseg.runtime.device import wanted_device

_TITLES = {"cublas": "cuBLAS", "curand": "cuRAND", "cudnn": "cuDNN"}
_DRIVER_FIX = "install NVIDIA's driver, or start the container with --gpus all"


class Line(NamedTuple):
    """One line of the report. `usable` is False if CUDA, or a part of it, cannot be used."""

    usable: bool
    name: str
    text: str
    fix: str | None = None


def cuda_lines(cache: Path | None = None, compiler: str | None = None) -> list[Line]:
    """Examines the machine, and reports first whether CUDA can be used, and then its parts.

    Args:
        cache, compiler: Jittor's cache and the C++ compiler, to also try a compilation (seconds, once).
            Without them, the installation found is not tested.
    """
    try:
        wanted = wanted_device()
    except ValueError as error:
        return [Line(False, "CUDA", f"off: {error}", "unset JSEG_DEVICE")]
    if wanted == "cpu":
        return [Line(False, "CUDA", "off, using the CPU: selected by --device or JSEG_DEVICE")]
    chosen = os.environ.get("nvcc_path")
    if chosen is not None and chosen != os.environ.get(OURS):
        if chosen == "":
            return [Line(False, "CUDA", "switched off: nvcc_path is set to nothing", "unset nvcc_path")]
        if shutil.which(chosen) is None:
            return [
                Line(
                    False,
                    "CUDA",
                    f"nvcc_path={chosen}, set by the user: no such program, Jittor will not start",
                    "unset nvcc_path",
                )
            ]
        return [
            Line(
                True,
                "CUDA",
                f"nvcc_path={chosen}, set by the user: passed to Jittor unchanged",
                "unset nvcc_path",
            )
        ]
    cuda = detect(query_driver("every"))
    problem = cuda.problem or os.environ.get(FAILED, "") or _compile_problem(cuda, cache, compiler)
    refused = [
        Line(False, "GPU", f"left out: {text}", fix or None)
        for text, _, fix in (gpu.refusal.partition("; ") for gpu in cuda.driver.refused)
    ]
    if problem:
        reason, _, hint = problem.partition("; ")
        if not cuda.driver.installed and wanted == "cuda":
            hint = _DRIVER_FIX
        lines = [Line(False, "CUDA", f"off, using the CPU: {reason}", hint or None)]
        found = [_libraries(cuda)] if cuda.toolkit else []
        if cuda.toolkit and cuda.driver.problem:
            found.insert(0, Line(False, "toolkit", f"{_name(cuda)}; unused without a GPU"))
        return lines + found + _ignored_homes(cuda)
    lines = [Line(True, "CUDA", _name(cuda)), Line(True, "GPU", describe_gpus(cuda.driver)), *refused]
    if cuda.translated:
        codes = ", ".join(f"sm_{code}" for code in cuda.translated)
        lines.append(
            Line(
                False,
                "GPU",
                f"this nvcc does not support {codes}: the driver compiles each kernel on first use",
                "install a newer CUDA toolkit, if that takes too long",
            )
        )
    lines += [_libraries(cuda), _nccl(cuda), *_ignored_homes(cuda)]
    lines += [Line(False, "without", f"{names}: {effect}") for _, names, effect in SWITCHES.values()]
    return lines


def _name(cuda: Cuda) -> str:
    return "{}.{} from {}: {}".format(*cuda.toolkit.release, cuda.toolkit.source, cuda.toolkit.nvcc)


def _compile_problem(cuda: Cuda, cache: Path | None, compiler: str | None) -> str:
    if cache is None or compiler is None:
        return ""
    try:
        checked_home(cuda, cache, compiler)
    except ValueError as problem:
        return str(problem)
    except OSError:
        return ""  # an unwritable cache is reported on another line
    return ""


def _libraries(cuda: Cuda) -> Line:
    parts = []
    for name, title in _TITLES.items():
        library = cuda.libraries.get(name)
        parts.append(f"{title} {library.version or '?'}" if library else f"no {title}")
    sources = dict.fromkeys(library.source for library in cuda.libraries.values())
    complete = all(name in cuda.libraries and cuda.libraries[name].header for name in REQUIRED)
    return Line(
        complete, "libraries", ", ".join(parts) + (f" (from {', '.join(sources)})" if sources else "")
    )


def _nccl(cuda: Cuda) -> Line:
    library = cuda.libraries.get("nccl")
    if library is None or library.header is None:
        major = cuda.toolkit.release[0]
        return Line(
            False,
            "NCCL",
            f"none for CUDA {major}: processes on several GPUs sum by MPI through host memory",
            f"pip install nvidia-nccl-cu{major}   (for several GPUs only)",
        )
    return Line(True, "NCCL", f"{library.version} from {library.source}: sums over several GPUs")


def _ignored_homes(cuda: Cuda) -> list[Line]:
    """Returns toolkits that the user selected but that are not used."""
    lines: list[Line] = []
    for variable in HOME_VARIABLES:
        if cuda.toolkit and cuda.toolkit.source == variable:
            break
        if os.environ.get(variable):
            nvcc = Path(os.environ[variable]) / "bin" / "nvcc"
            there = os.access(nvcc, os.X_OK)
            if there and cuda.driver.problem:
                continue  # no toolkit is used in this case
            reasons = [
                reason.partition("; ")[0]
                for toolkit, reason in cuda.rejected
                if toolkit.source == variable or toolkit.nvcc == nvcc.resolve()
            ]
            reason = reasons[0] if reasons else "its nvcc does not work" if there else "it has no bin/nvcc"
            lines.append(
                Line(
                    False,
                    variable,
                    f"{os.environ[variable]} is ignored: {reason}",
                    f"unset {variable}, or set it to another toolkit",
                )
            )
    return lines
