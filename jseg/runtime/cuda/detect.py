"""Combines the results of `driver` and `toolkit`, and explains in one sentence if CUDA cannot be used."""

from dataclasses import dataclass, field, replace

from jseg.runtime.cuda.driver import Driver, Gpu, query_driver
from jseg.runtime.cuda.toolkit import Library, Place, Toolkit, find_libraries, find_toolkits, places

OLDEST_CUDA = (11, 0)
REQUIRED = ("cudart", "cublas", "curand")
_TITLES = {"cudart": "the CUDA runtime", "cublas": "cuBLAS", "curand": "cuRAND"}


@dataclass(frozen=True)
class Cuda:
    """The CUDA installation found. `problem` is empty if Jittor can use it. `toolkit` is the best one, usable
    or not. `rejected` are the others that were examined before it, each with the reason."""

    driver: Driver
    toolkit: Toolkit | None = None
    places: tuple[Place, ...] = ()
    libraries: dict[str, Library] = field(default_factory=dict)
    problem: str = ""
    rejected: tuple[tuple[Toolkit, str], ...] = ()

    @property
    def translated(self) -> tuple[int, ...]:
        """Architectures unknown to nvcc, for which the driver compiles each kernel when it is first used."""
        codes = self.toolkit.codes if self.toolkit else ()
        return tuple(sorted({gpu.code for gpu in self.driver.gpus if codes and gpu.code not in codes}))


def detect(driver: Driver | None = None) -> Cuda:
    """Examines the whole machine. Returns the first toolkit that matches the driver and all GPUs, or else the
    first one that matches some of them."""
    driver = query_driver() if driver is None else driver
    candidates = [_examine(driver, toolkit) for toolkit in find_toolkits()]
    if not candidates:
        problem = driver.problem or f"{_gpus(driver)}, but no nvcc; {toolkit_hint(driver.version[0])}"
        return Cuda(driver, problem=problem)
    usable = [cuda for cuda in candidates if not cuda.problem]
    best = next(
        (cuda for cuda in usable if cuda.driver == driver and not cuda.translated), (usable or candidates)[0]
    )
    earlier = candidates[: candidates.index(best)]
    return replace(
        best,
        rejected=tuple(
            (cuda.toolkit, cuda.problem or "it does not compile for all GPUs") for cuda in earlier
        ),
    )


def architectures(cuda: Cuda) -> list[str]:
    """Returns values of -gencode for nvcc: the architecture of each GPU, or for a GPU newer than nvcc, the
    newest architecture supported by nvcc, with PTX that the driver compiles. Empty if nvcc does not list its
    architectures."""
    values: list[str] = []
    for code in sorted({gpu.code for gpu in cuda.driver.gpus}):
        built = max((known for known in cuda.toolkit.codes if known <= code), default=None)
        if built is not None:
            kinds = ("sm",) if built == code else ("sm", "compute")
            values += [f"arch=compute_{built},code={kind}_{built}" for kind in kinds]
    return list(dict.fromkeys(values))


def _examine(driver: Driver, toolkit: Toolkit) -> Cuda:
    """Examines a toolkit. GPUs that are too old for it are excluded, unless all are."""
    old = [gpu for gpu in driver.gpus if _too_old(gpu, toolkit)]
    if old and len(old) < len(driver.gpus):
        refused = tuple(replace(gpu, problem=_too_old(gpu, toolkit)) for gpu in old)
        driver = replace(
            driver, gpus=tuple(gpu for gpu in driver.gpus if gpu not in old), refused=driver.refused + refused
        )
    where = places(toolkit)
    libraries = find_libraries(toolkit, where)
    problem = driver.problem or _mismatch(driver, toolkit) or _missing(toolkit, libraries)
    return Cuda(driver, toolkit, tuple(where), libraries, problem)


def _mismatch(driver: Driver, toolkit: Toolkit) -> str:
    release = "{}.{}".format(*toolkit.release)
    if toolkit.release < OLDEST_CUDA:
        return f"{toolkit.nvcc} is CUDA {release}, too old for jseg; install CUDA 11 or newer"
    if driver.version[0] < toolkit.release[0]:
        return (
            f"the driver runs CUDA {'{}.{}'.format(*driver.version)} at most and {toolkit.nvcc} is "
            f"{release}; "
            f"update the driver, or install the CUDA {driver.version[0]} toolkit"
        )
    return next((problem for problem in (_too_old(gpu, toolkit) for gpu in driver.gpus) if problem), "")


def _too_old(gpu: Gpu, toolkit: Toolkit) -> str:
    """Returns why code of the toolkit cannot run on the GPU, or "". It can on a GPU newer than the
    toolkit."""
    if not toolkit.codes or gpu.code >= min(toolkit.codes):
        return ""
    return (
        f"{toolkit.nvcc} (CUDA {'{}.{}'.format(*toolkit.release)}) does not compile for {gpu.name} "
        f"(sm_{gpu.code}); install an older one"
    )


def _missing(toolkit: Toolkit, libraries: dict[str, Library]) -> str:
    absent: list[str] = [_TITLES[name] for name in REQUIRED if name not in libraries]
    headless = [_TITLES[name] for name in REQUIRED if name in libraries and libraries[name].header is None]
    if not absent and not headless:
        return ""
    parts = [
        f"{' and '.join(absent)} {'are' if len(absent) > 1 else 'is'} missing" if absent else "",
        f"headers of {' and '.join(headless)} are missing" if headless else "",
    ]
    return (
        f"{toolkit.nvcc} is CUDA {'{}.{}'.format(*toolkit.release)}, but "
        f"{' and '.join(filter(None, parts))}; "
        f"{wheels_hint(toolkit.release[0])}"
    )


def toolkit_hint(major: int) -> str:
    """Returns how to install nvcc for a driver of CUDA `major`. Wheels contain it from CUDA 13 on."""
    if major >= 13:
        return f"install the CUDA toolkit, or {wheels_hint(major)}"
    return (
        f"install the CUDA {major} toolkit: NVIDIA's, apt-get install nvidia-cuda-toolkit, or "
        f"conda install -c nvidia 'cuda-toolkit={major}.*'"
    )


def wheels_hint(major: int) -> str:
    """Returns the pip command that installs the libraries of a CUDA release, and from 13 on, nvcc."""
    if major >= 13:
        return (
            f"pip install 'nvidia-cuda-nvcc=={major}.*' 'nvidia-cuda-cccl=={major}.*' "
            f"'nvidia-cuda-runtime=={major}.*' nvidia-cublas nvidia-curand"
        )
    suffix = f"-cu{max(major, 11)}"
    return f"pip install nvidia-cuda-runtime{suffix} nvidia-cublas{suffix} nvidia-curand{suffix}"


def _gpus(driver: Driver) -> str:
    names = ", ".join(sorted({gpu.name for gpu in driver.gpus}))
    return f"{len(driver.gpus)} GPU{'s' * (len(driver.gpus) > 1)} ({names})"
