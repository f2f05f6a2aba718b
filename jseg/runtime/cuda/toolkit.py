"""Finds nvcc and the CUDA libraries: in the system, in wheels (`nvidia-*`), or in an installed PyTorch."""

import os
import platform
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

# Name of a library -> the header with its version, and the macros of major, minor and patch in it.
_HEADERS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "cudart": (("cuda_runtime_api.h",), ("CUDART_VERSION",)),
    "cublas": (("cublas_api.h",), ("CUBLAS_VER_MAJOR", "CUBLAS_VER_MINOR", "CUBLAS_VER_PATCH")),
    "cublasLt": (("cublasLt.h",), ()),
    "curand": (("curand.h",), ("CURAND_VER_MAJOR", "CURAND_VER_MINOR", "CURAND_VER_PATCH")),
    "nccl": (("nccl.h",), ("NCCL_MAJOR", "NCCL_MINOR", "NCCL_PATCH")),
    "cudnn": (
        ("cudnn_version.h", "cudnn_version_v9.h", "cudnn_version_v8.h", "cudnn.h"),
        ("CUDNN_MAJOR", "CUDNN_MINOR", "CUDNN_PATCHLEVEL"),
    ),
}
HOME_VARIABLES = ("CUDA_HOME", "CUDA_PATH")
"""Variables with which users select their toolkit."""
# Libraries whose major version is that of CUDA; cuRAND has been at 10 since CUDA 10.
_FOLLOWS_CUDA = (
    "cudart",
    "cublas",
    "cublasLt",
)


@dataclass(frozen=True)
class Toolkit:
    """One nvcc. `root` contains its `include`. `codes` are the architectures it supports: 90 for sm_90."""

    nvcc: Path
    root: Path
    release: tuple[int, int]
    codes: tuple[int, ...]
    source: str


@dataclass(frozen=True)
class Library:
    """One library: `path` of the shared object, and `header` and `version` if known."""

    name: str
    path: Path
    header: Path | None
    version: str
    source: str


@dataclass(frozen=True)
class Place:
    """A folder of headers and the matching folder of libraries. `source` describes their origin."""

    source: str
    include: Path
    lib: Path


def system_roots() -> list[Path]:
    """Returns the parent folders of installed toolkits (`cuda`, `cuda-13.0` and so on)."""
    return [Path("/usr/local"), Path("/opt")]


def standard_place() -> Place:
    """Returns the folders in which a distribution's own packages put headers and libraries."""
    return Place("system", Path("/usr/include"), Path(f"/usr/lib/{platform.machine()}-linux-gnu"))


def site_folders() -> list[Path]:
    """Returns folders of installed packages: of this Python, of its base, and of the distribution."""
    folders = [Path(entry) for entry in sys.path if entry.rstrip("/").endswith("-packages")]
    folders.append(Path(sysconfig.get_path("purelib", vars={"base": sys.base_prefix})))
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    folders += [Path(f"/usr/local/lib/{version}/dist-packages"), Path("/usr/lib/python3/dist-packages")]
    return [folder for folder in dict.fromkeys(folders) if folder.is_dir()]


def find_toolkits() -> list[Toolkit]:
    """Returns every working nvcc, in the order CUDA_HOME, PATH, this environment, the system, wheels."""
    toolkits: dict[Path, Toolkit] = {}
    asked = set()
    for source, nvcc in _nvcc_candidates():
        # check access first, since is_file raises in a folder of PATH that this user may not read
        if os.access(nvcc, os.X_OK) and nvcc.is_file() and nvcc.resolve() not in asked:
            asked.add(nvcc.resolve())
            toolkit = _toolkit(nvcc, source)
            if toolkit is not None:
                toolkits.setdefault(toolkit.root, toolkit)
    return list(toolkits.values())


def _nvcc_candidates() -> Iterator[tuple[str, Path]]:
    for variable in HOME_VARIABLES:
        if os.environ.get(variable):
            yield variable, Path(os.environ[variable]) / "bin" / "nvcc"
    for folder in os.get_exec_path():
        yield "PATH", Path(folder) / "nvcc"
    yield "this environment", Path(sys.prefix) / "bin" / "nvcc"
    for root in system_roots():
        yield "system", root / "cuda" / "bin" / "nvcc"
        for folder in sorted(root.glob("cuda-*"), key=_numbers, reverse=True):
            yield "system", folder / "bin" / "nvcc"
    for site in site_folders():
        for folder in sorted(site.glob("nvidia/cu[0-9]*"), key=_numbers, reverse=True):
            yield "wheels", folder / "bin" / "nvcc"
        yield "wheels", site / "nvidia" / "cuda_nvcc" / "bin" / "nvcc"


def _numbers(path: Path) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", path.name)]


def _toolkit(nvcc: Path, source: str) -> Toolkit | None:
    release = re.search(r"release (\d+)\.(\d+)", _output([str(nvcc), "--version"]))
    if release is None:
        return None
    real = nvcc.resolve()
    root = real.parent.parent
    if not (root / "include" / "cuda_runtime.h").is_file():
        # A script that calls the real one. nvcc itself reports its location.
        top = re.search(
            r"^#\$ TOP=(.*)$", _output([str(nvcc), "--dryrun", "-x", "cu", os.devnull]), re.MULTILINE
        )
        if top:
            root = Path(top[1].strip()).resolve()
            if (root / "bin" / "nvcc").is_file():
                real = root / "bin" / "nvcc"
    codes = re.findall(r"sm_(\d+)\b", _output([str(nvcc), "--list-gpu-code"]))
    return Toolkit(real, root, (int(release[1]), int(release[2])), tuple(sorted(map(int, codes))), source)


def _output(command: list[str]) -> str:
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.SubprocessError):
        return ""
    return result.stdout + result.stderr  # --dryrun writes to stderr


def places(toolkit: Toolkit) -> list[Place]:
    """Returns possible places of headers and libraries of the toolkit's major release, the toolkit's own
    first."""
    root, major, machine = toolkit.root, toolkit.release[0], platform.machine()
    arch = {"aarch64": "sbsa"}.get(machine, machine)
    found = [
        Place(toolkit.source, root / include, root / lib)
        for include, lib in (
            ("include", "lib64"),
            ("include", "lib"),
            (f"targets/{arch}-linux/include", f"targets/{arch}-linux/lib"),
            ("include", f"lib/{machine}-linux-gnu"),
        )
    ]
    for site in site_folders():
        joint = site / "nvidia" / f"cu{major}"
        found.append(Place("wheels", joint / "include", joint / "lib"))
        for folder in sorted((site / "nvidia").glob("*")):
            # One folder per package: CUDA 11 and 12, NCCL and cuDNN.
            if not re.fullmatch(r"cu\d+", folder.name):
                found.append(Place("wheels", folder / "include", folder / "lib"))
        found.append(Place("PyTorch", site / "torch" / "include", site / "torch" / "lib"))
    prefix = Path(sys.prefix)
    found.append(Place("this environment", prefix / "include", prefix / "lib"))
    found.append(standard_place())
    return [place for place in dict.fromkeys(found) if place.include.is_dir() or place.lib.is_dir()]


def find_libraries(toolkit: Toolkit, where: Iterable[Place]) -> dict[str, Library]:
    """Returns the available libraries by name, without those of another major release of CUDA."""
    where = list(where)
    found = (_library(name, toolkit.release[0], where) for name in _HEADERS)
    return {library.name: library for library in found if library is not None}


def _library(name: str, major: int, where: list[Place]) -> Library | None:
    for place in where:
        path = _shared_object(name, major, place.lib)
        if path is not None and not (name == "nccl" and _for_another_cuda(place, major)):
            headers = [other.include / header for other in (place, *where) for header in _HEADERS[name][0]]
            header = next((header for header in headers if header.is_file()), None)
            version = _header_version(header, _HEADERS[name][1]) or _file_version(path)
            return Library(name, path, header, version, place.source)
    return None


def _shared_object(name: str, major: int, folder: Path) -> Path | None:
    """Finds `libNAME.so`, with or without version, or with PyTorch's name for its copies,
    `libNAME-HASH.so.11.0`."""
    if not folder.is_dir():
        return None
    pattern = re.compile(rf"lib{name}(-[0-9a-f]+)?\.so(\.\d+)*")
    for path in sorted(folder.glob(f"lib{name}*.so*")):
        if pattern.fullmatch(path.name) and path.is_file():
            version = _file_version(path)
            if name not in _FOLLOWS_CUDA or not version or version.split(".")[0] == str(major):
                return path
    return None


def _for_another_cuda(place: Place, major: int) -> bool:
    """Whether this is the folder of NCCL's wheel for another CUDA release, which the files do not show."""
    package = place.lib.parent
    wheels = package.parent.parent.glob("nvidia_nccl_cu*.dist-info") if package.name == "nccl" else ()
    majors = {_numbers(wheel)[0] for wheel in wheels}
    return bool(majors) and major not in majors


def _file_version(path: Path) -> str:
    return path.resolve().name.partition(".so")[2].lstrip(".")


def _header_version(header: Path | None, macros: tuple[str, ...]) -> str:
    """'13.0.2' of a header; CUDART_VERSION holds 13000. Empty where a macro is missing."""
    if header is None or not macros:
        return ""
    text = header.read_text(errors="replace")
    numbers = [re.search(rf"^\s*#\s*define\s+{macro}\s+(\d+)", text, re.MULTILINE) for macro in macros]
    if not all(numbers):
        return ""
    values = [int(number[1]) for number in numbers if number]
    if len(values) == 1:
        values = [values[0] // 1000, values[0] % 1000 // 10]
    return ".".join(map(str, values))
