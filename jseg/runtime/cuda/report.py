"""What the doctor says about CUDA: driver, GPUs, toolkit, libraries with their versions, and what is switched off."""

import os
from typing import List, NamedTuple, Optional

from jseg.runtime.cuda.detect import Cuda, detect
from jseg.runtime.cuda.prepare import FAILED, OURS, SWITCHES, describe_gpus
from jseg.runtime.device import wanted_device

_TITLES = {"cublas": "cuBLAS", "curand": "cuRAND", "cudnn": "cuDNN"}


class Line(NamedTuple):
    """One line of the report. `usable` is False where CUDA stays off, or a part of it does."""

    usable: bool
    name: str
    text: str
    mend: Optional[str] = None


def cuda_lines() -> List[Line]:
    """Looks at the machine; says first whether CUDA computes, then with what."""
    try:
        wanted = wanted_device()
    except ValueError as error:
        return [Line(False, "CUDA", f"off: {error}", "unset JSEG_DEVICE")]
    if wanted == "cpu":
        return [Line(False, "CUDA", "off, the CPU computes: chosen by --device or JSEG_DEVICE")]
    chosen = os.environ.get("nvcc_path")
    if chosen is not None and chosen != os.environ.get(OURS):
        if chosen == "":
            return [Line(False, "CUDA", "switched off: nvcc_path is set to nothing", "unset nvcc_path")]
        return [Line(True, "CUDA", f"nvcc_path={chosen}, as set: handed to Jittor as it is", "unset nvcc_path")]
    cuda = detect()
    problem = cuda.problem or os.environ.get(FAILED, "")
    if problem:
        reason, _, hint = problem.partition("; ")
        lines = [Line(False, "CUDA", f"off, the CPU computes: {reason}", hint or None)]
        return lines + ([_libraries(cuda)] if cuda.toolkit and cuda.driver.installed else [])
    toolkit = "{}.{} from {}: {}".format(*cuda.toolkit.release, cuda.toolkit.source, cuda.toolkit.nvcc)
    lines = [Line(True, "CUDA", toolkit),
             Line(True, "GPU", describe_gpus(cuda.driver)), _libraries(cuda), _nccl(cuda)]
    lines += [Line(False, "without", f"{names}: {effect}") for _, names, effect in SWITCHES.values()]
    return lines


def _libraries(cuda: Cuda) -> Line:
    parts = []
    for name, title in _TITLES.items():
        library = cuda.libraries.get(name)
        parts.append(f"{title} {library.version or '?'}" if library else f"no {title}")
    sources = dict.fromkeys(library.source for library in cuda.libraries.values())
    return Line(True, "libraries", f"{', '.join(parts)} (from {', '.join(sources)})")


def _nccl(cuda: Cuda) -> Line:
    library = cuda.libraries.get("nccl")
    if library is None or library.header is None:
        return Line(False, "NCCL", "absent: processes on several GPUs sum by MPI through host memory",
                    f"pip install nvidia-nccl-cu{cuda.toolkit.release[0]}   (for several GPUs only)")
    return Line(True, "NCCL", f"{library.version} from {library.source}: sums over several GPUs")
