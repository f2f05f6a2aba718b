"""Puts together what `driver` and `toolkit` find, and says in one sentence why CUDA cannot be used, if so."""

from dataclasses import dataclass, field
from typing import Dict, List, Optional, Tuple

from jseg.runtime.cuda.driver import Driver, query_driver
from jseg.runtime.cuda.toolkit import Library, Place, Toolkit, find_libraries, find_toolkits, places

OLDEST_CUDA = (11, 0)
REQUIRED = ("cudart", "cublas", "curand")
_TITLES = {"cudart": "the CUDA runtime", "cublas": "cuBLAS", "curand": "cuRAND"}


@dataclass(frozen=True)
class Cuda:
    """What was found. `problem` is empty if Jittor can use it; `toolkit` is the best one there is, usable or not."""

    driver: Driver
    toolkit: Optional[Toolkit] = None
    places: Tuple[Place, ...] = ()
    libraries: Dict[str, Library] = field(default_factory=dict)
    problem: str = ""


def detect(driver: Optional[Driver] = None) -> Cuda:
    """Looks at the whole machine. Of several toolkits the first one that fits driver and GPUs is taken."""
    driver = query_driver() if driver is None else driver
    candidates = [_examine(driver, toolkit) for toolkit in find_toolkits()]
    best = next((cuda for cuda in candidates if not cuda.problem), candidates[0] if candidates else None)
    if best is None:
        problem = driver.problem or (f"{_gpus(driver)}, but no nvcc; install the CUDA toolkit, or "
                                     f"{wheels_hint(driver.version[0])}")
        return Cuda(driver, problem=problem)
    return best


def _examine(driver: Driver, toolkit: Toolkit) -> Cuda:
    where = places(toolkit)
    libraries = find_libraries(toolkit, where)
    problem = driver.problem or _mismatch(driver, toolkit) or _missing(toolkit, libraries)
    return Cuda(driver, toolkit, tuple(where), libraries, problem)


def _mismatch(driver: Driver, toolkit: Toolkit) -> str:
    release = "{}.{}".format(*toolkit.release)
    if toolkit.release < OLDEST_CUDA:
        return f"{toolkit.nvcc} is CUDA {release}; jseg needs CUDA 11 or newer"
    if driver.version[0] < toolkit.release[0]:
        return (f"the driver runs CUDA {'{}.{}'.format(*driver.version)} at most and {toolkit.nvcc} is {release}; "
                f"update the driver, or install the CUDA {driver.version[0]} toolkit")
    for gpu in driver.gpus:
        if toolkit.codes and gpu.code not in toolkit.codes:
            other = "an older" if gpu.code < min(toolkit.codes) else "a newer"
            return (f"{toolkit.nvcc} (CUDA {release}) does not compile for {gpu.name} (sm_{gpu.code}); "
                    f"install {other} one")
    return ""


def _missing(toolkit: Toolkit, libraries: Dict[str, Library]) -> str:
    absent: List[str] = [_TITLES[name] for name in REQUIRED if name not in libraries]
    headless = [_TITLES[name] for name in REQUIRED if name in libraries and libraries[name].header is None]
    if not absent and not headless:
        return ""
    parts = [f"{' and '.join(absent)} {'are' if len(absent) > 1 else 'is'} missing" if absent else "",
             f"headers of {' and '.join(headless)} are missing" if headless else ""]
    return (f"{toolkit.nvcc} is CUDA {'{}.{}'.format(*toolkit.release)}, but {' and '.join(filter(None, parts))}; "
            f"{wheels_hint(toolkit.release[0])}")


def wheels_hint(major: int) -> str:
    """The pip command that brings what a bare driver lacks."""
    if major >= 13:
        return (f"pip install 'nvidia-cuda-nvcc=={major}.*' 'nvidia-cuda-cccl=={major}.*' "
                f"'nvidia-cuda-runtime=={major}.*' nvidia-cublas nvidia-curand")
    suffix = f"-cu{max(major, 11)}"
    return f"pip install nvidia-cuda-runtime{suffix} nvidia-cublas{suffix} nvidia-curand{suffix}"


def _gpus(driver: Driver) -> str:
    names = ", ".join(sorted({gpu.name for gpu in driver.gpus}))
    return f"{len(driver.gpus)} GPU{'s' * (len(driver.gpus) > 1)} ({names})"
