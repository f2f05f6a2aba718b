"""Creates a CUDA home: links to the files found, headers that Jittor needs, and a front end for nvcc.

Jittor needs one folder with `bin/nvcc`, `include` and `lib64`. Wheels have no such folder and no plain
`lib*.so` names, and CUDA 13 removed names that Jittor uses. The home is in Jittor's cache and named after its
contents, so that another toolkit gets another home.
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
_CHECKED = "checked"  # file with the requested compiler, and the one that compiled check.cu
_TOO_NEW = "unsupported GNU version"
# Default include paths of every compiler. With -I, they would change the order of C++ headers.
_STANDARD_INCLUDE = Path("/usr/include")
_MARKS = ("cuda_runtime.h", "cublas_v2.h", "curand.h", "nccl.h", "crt", "cccl", "cub")
_FIRST_WITH_CUB_3 = (13, 0)
_COMPILE_SECONDS = 600  # takes 2 s, but the machine may be busy


def make_home(cuda: Cuda, cache: Path, compilers: Sequence[str]) -> tuple[Path, str]:
    """Returns the home for the result of `detect`. If it does not exist, it is created and tested with a
    small file.

    Args:
        cuda: a result without a problem.
        cache: Jittor's cache folder.
        compilers: the C++ compiler for nvcc, followed by alternatives in case it is too new for nvcc.

    Returns:
        The home, and the compiler that nvcc accepts.

    Raises:
        OSError: if the cache cannot be written.
        ValueError: if nvcc does not compile with the first compiler. The message contains the first error.
    """
    content = repr(sorted((name, str(value)) for name, value in {**_links(cuda), **_files(cuda)}.items()))
    key = hashlib.md5(content.encode()).hexdigest()[:8]
    home = cache / _FOLDER / f"{cuda.toolkit.release[0]}.{cuda.toolkit.release[1]}-{key}"
    if not home.is_dir():
        write_home(home, cuda)
    checked = home / _CHECKED
    wanted, _, taken = checked.read_text().partition("\n") if checked.is_file() else ("", "", "")
    # Processes started from here also use the chosen compiler.
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
    """Returns path inside the home -> target of the link. Earlier places take precedence."""
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
        # The loader requests exactly one name.
        for other in library.path.parent.glob(f"lib{library.name}*.so*"):
            if other.resolve() == target:
                links[f"lib64/{other.name}"] = target
    for place in cuda.places:
        # nvcc links it, but a wheel does not have it in the toolkit's folder.
        archive = place.lib / "libcudadevrt.a"
        if archive.is_file():
            links.setdefault("lib64/libcudadevrt.a", archive.resolve())
    return links


def _files(cuda: Cuda) -> dict[str, str]:
    """Returns path inside the home -> text of jseg's own files."""
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
    """Writes the folder under a temporary name and renames it, since several ranks may do this at the same
    time.

    Raises:
        OSError: if the folder cannot be written.
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
            if not path.exists() and not path.is_symlink():  # a header of jseg's, or its folder
                path.symlink_to(target)


def compile_problem(home: Path, compiler: str) -> str:
    """Returns why a small file that needs the headers does not compile with this home, or ""."""
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
        "also install an older g++, or set cc_path to one"
        if _TOO_NEW in first
        else "set cc_path to another C++ compiler, or CUDA_HOME to another toolkit"
    )
    return f"nvcc does not compile on this machine: {first.strip()[:300]}; {fix}"
