"""A CUDA home of our own: links to what was found, the headers Jittor lacks, and the front end of nvcc.

Jittor takes one folder with `bin/nvcc`, `include` and `lib64`. Wheels have no such folder, name their
libraries without the plain `lib*.so`, and CUDA 13 dropped names that Jittor uses. The home lies in Jittor's
cache and is named after its content, so that another toolkit gets another home.
"""

import hashlib
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from jseg.files import making_folder
from jseg.runtime.cuda.detect import Cuda, architectures

_SHIPPED = Path(__file__).parent
_FOLDER = "jseg_cuda"
_CHECKED = "checked"  # which compiler was wanted, and the one check.cu has compiled with
_TOO_NEW = "unsupported GNU version"
# Every compiler looks there; as -I it would upset the order of C++ headers.
_STANDARD_INCLUDE = Path("/usr/include")
_MARKS = ("cuda_runtime.h", "cublas_v2.h", "curand.h", "nccl.h", "crt", "cccl", "cub")
_FIRST_WITH_CUB_3 = (13, 0)
_COMPILE_SECONDS = 600  # 2 s of work, on a machine that may be busy


def make_home(cuda: Cuda, cache: Path, compilers: Sequence[str]) -> tuple[Path, str]:
    """The home for what `detect` found; made, and tried with one small file, if it is not there yet.

    Args:
        cuda: without a problem.
        cache: Jittor's cache folder.
        compilers: the C++ compiler that nvcc shall call, then those to try where it is too new for nvcc.

    Returns:
        The home, and the compiler that nvcc takes.

    Raises:
        OSError: the cache cannot be written.
        ValueError: nvcc does not compile with the first; the message holds the compiler's first error.
    """
    content = repr(sorted((name, str(value)) for name, value in {**_links(cuda), **_files(cuda)}.items()))
    key = hashlib.md5(content.encode()).hexdigest()[:8]
    home = cache / _FOLDER / f"{cuda.toolkit.release[0]}.{cuda.toolkit.release[1]}-{key}"
    if not home.is_dir():
        write_home(home, cuda)
    checked = home / _CHECKED
    wanted, _, taken = checked.read_text().partition("\n") if checked.is_file() else ("", "", "")
    # What is taken is wanted by the processes started here.
    if taken in compilers and compilers[0] in (
        wanted,
        taken,
    ):
        return home, taken
    problem = compile_problem(home, compilers[0])
    for compiler in compilers[1:] if _TOO_NEW in problem else ():
        if not compile_problem(home, compiler):
            checked.write_text(f"{compilers[0]}\n{compiler}")
            return home, compiler
    if problem:
        raise ValueError(problem)
    checked.write_text(f"{compilers[0]}\n{compilers[0]}")
    return home, compilers[0]


def _links(cuda: Cuda) -> dict[str, Path]:
    """Path inside the home -> what it points to. Earlier places win."""
    links: dict[str, Path] = {}
    for place in cuda.places:
        if place.include != _STANDARD_INCLUDE and any((place.include / mark).exists() for mark in _MARKS):
            for entry in sorted(place.include.iterdir()):
                links.setdefault(f"include/{entry.name}", entry.resolve())
    runtime = cuda.libraries["cudart"].header
    links["include/jseg_toolkit/cuda_runtime.h"] = (runtime.with_name("cuda_runtime.h")).resolve()
    for library in cuda.libraries.values():
        target = library.path.resolve()
        links[f"lib64/lib{library.name}.so"] = target
        # The name that the loader asks for is one.
        for other in library.path.parent.glob(f"lib{library.name}*.so*"):
            if other.resolve() == target:
                links[f"lib64/{other.name}"] = target
    for place in cuda.places:
        # nvcc links it; its own folder lacks it when it came as a wheel.
        archive = place.lib / "libcudadevrt.a"
        if archive.is_file():
            links.setdefault("lib64/libcudadevrt.a", archive.resolve())
    return links


def _files(cuda: Cuda) -> dict[str, str]:
    """Path inside the home -> text of our own."""
    files = {"include/cuda_runtime.h": (_SHIPPED / "include" / "cuda_runtime.h").read_text()}
    if not any((place.include / "npp.h").is_file() for place in cuda.places):
        files["include/npp.h"] = (_SHIPPED / "include" / "npp.h").read_text()
    modern = cuda.toolkit.release >= _FIRST_WITH_CUB_3
    if modern:
        files["include/cub/cub.cuh"] = (_SHIPPED / "include" / "cub" / "cub.cuh").read_text()
    front = (_SHIPPED / "nvcc.sh").read_text()
    for name, text in {
        "@NVCC@": str(cuda.toolkit.nvcc),
        "@STANDARD@": "-std=c++17" if modern else "",
        "@ARCHITECTURES@": " ".join(f"-gencode {value}" for value in architectures(cuda)),
    }.items():
        front = front.replace(name, text)
    files["bin/nvcc"] = front
    return files


def write_home(home: Path, cuda: Cuda) -> None:
    """Writes the folder under another name and renames it: several ranks may do this at the same moment.

    Raises:
        OSError: the folder cannot be written.
    """
    with making_folder(home) as temporary:
        for name, text in _files(cuda).items():
            path = temporary / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (temporary / "bin" / "nvcc").chmod(0o755)
        for name, target in _links(cuda).items():
            path = temporary / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists() and not path.is_symlink():  # a header of ours, or a folder that holds one
                path.symlink_to(target)


def compile_problem(home: Path, compiler: str) -> str:
    """Why a small file that needs the headers does not compile with this home, or "" if it does."""
    with tempfile.TemporaryDirectory(prefix="jseg-nvcc-") as folder:
        command = [
            str(home / "bin" / "nvcc"),
            "-std=c++14",
            "-x",
            "cu",
            f"-ccbin={compiler}",
            f"-I{home / 'include'}",
            "-c",
            "-o",
            str(Path(folder, "check.o")),
            str(_SHIPPED / "check.cu"),
        ]
        try:
            result = subprocess.run(command, capture_output=True, text=True, timeout=_COMPILE_SECONDS)
        except (OSError, subprocess.SubprocessError) as error:
            return f"nvcc does not run: {error}; install the toolkit again"
    if result.returncode == 0:
        return ""
    lines = (result.stderr + result.stdout).splitlines()
    first = next((line for line in lines if "error" in line.lower()), lines[0] if lines else "no message")
    fix = (
        "install an older g++ beside it, or set cc_path to one"
        if _TOO_NEW in first
        else "set cc_path to another C++ compiler, or CUDA_HOME to another toolkit"
    )
    return f"nvcc does not compile on this machine: {first.strip()[:300]}; {fix}"
