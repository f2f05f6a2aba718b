"""A CUDA home of our own: links to what was found, the headers Jittor lacks, and the front end of nvcc.

Jittor takes one folder with `bin/nvcc`, `include` and `lib64`. Wheels have no such folder, name their libraries without
the plain `lib*.so`, and CUDA 13 dropped names that Jittor uses. The home lies in Jittor's cache and is named after
its content, so that another toolkit gets another home.
"""

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Dict, Optional

from jseg.runtime.cuda.detect import Cuda

_SHIPPED = Path(__file__).parent
_FOLDER = "jseg_cuda"
_CHECKED = "checked"  # written once check.cu has compiled with this home
_STANDARD_INCLUDE = Path("/usr/include")  # every compiler looks there; as -I it would upset the order of C++ headers
_MARKS = ("cuda_runtime.h", "cublas_v2.h", "curand.h", "nccl.h", "crt", "cccl", "cub")
_FIRST_WITH_CUB_3 = (13, 0)
_COMPILE_SECONDS = 600  # 2 s of work, on a machine that may be busy


def make_home(cuda: Cuda, cache: Path, compiler: str) -> Path:
    """The home for what `detect` found; made, and tried with one small file, if it is not there yet.

    Args:
        cuda: without a problem.
        cache: Jittor's cache folder.
        compiler: the C++ compiler that nvcc shall call.

    Raises:
        OSError: the cache cannot be written.
        ValueError: nvcc does not compile with it; the message holds the compiler's first error.
    """
    content = repr(sorted((name, str(value)) for name, value in {**_links(cuda), **_files(cuda)}.items()))
    key = hashlib.md5(content.encode()).hexdigest()[:8]
    home = cache / _FOLDER / f"{cuda.toolkit.release[0]}.{cuda.toolkit.release[1]}-{key}"
    if not home.is_dir():
        write_home(home, cuda)
    checked = home / _CHECKED
    if not (checked.is_file() and checked.read_text() == compiler):
        problem = compile_problem(home, compiler)
        if problem:
            raise ValueError(problem)
        checked.write_text(compiler)
    return home


def _links(cuda: Cuda) -> Dict[str, Path]:
    """Path inside the home -> what it points to. Earlier places win."""
    links: Dict[str, Path] = {}
    for place in cuda.places:
        if place.include != _STANDARD_INCLUDE and any((place.include / mark).exists() for mark in _MARKS):
            for entry in sorted(place.include.iterdir()):
                links.setdefault(f"include/{entry.name}", entry.resolve())
    runtime = cuda.libraries["cudart"].header
    links["include/jseg_toolkit/cuda_runtime.h"] = (runtime.with_name("cuda_runtime.h")).resolve()
    for library in cuda.libraries.values():
        target = library.path.resolve()
        for name in (f"lib{library.name}.so", library.path.name, target.name, _soname(target)):
            if name:
                links[f"lib64/{name}"] = target
    for place in cuda.places:
        archive = place.lib / "libcudadevrt.a"  # nvcc links it; its own folder lacks it when it came as a wheel
        if archive.is_file():
            links.setdefault("lib64/libcudadevrt.a", archive.resolve())
    return links


def _soname(library: Path) -> Optional[str]:
    """The name that programs ask the loader for: `libcublas.so.12` for a file `libcublas.so.12.4.5.8`."""
    parts = library.name.split(".so.")
    return f"{parts[0]}.so.{parts[1].split('.')[0]}" if len(parts) == 2 else None


def _files(cuda: Cuda) -> Dict[str, str]:
    """Path inside the home -> text of our own."""
    files = {"include/cuda_runtime.h": (_SHIPPED / "include" / "cuda_runtime.h").read_text()}
    if not any((place.include / "npp.h").is_file() for place in cuda.places):
        files["include/npp.h"] = (_SHIPPED / "include" / "npp.h").read_text()
    if cuda.toolkit.release >= _FIRST_WITH_CUB_3:
        files["include/cub/cub.cuh"] = (_SHIPPED / "include" / "cub" / "cub.cuh").read_text()
        files["bin/nvcc"] = (_SHIPPED / "nvcc.sh").read_text().replace("@NVCC@", str(cuda.toolkit.nvcc))
    else:
        files["bin/nvcc"] = f'#!/bin/sh\nexec "{cuda.toolkit.nvcc}" "$@"\n'
    return files


def write_home(home: Path, cuda: Cuda) -> None:
    """Writes the folder under another name and renames it: several ranks may do this at the same moment.

    Raises:
        OSError: the folder cannot be written.
    """
    home.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f"{home.name}.", dir=home.parent))
    try:
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
        temporary.chmod(0o755)
        os.rename(temporary, home)
    except OSError:
        shutil.rmtree(temporary, ignore_errors=True)
        if not home.is_dir():
            raise


def compile_problem(home: Path, compiler: str) -> str:
    """Why a small file that needs the headers does not compile with this home, or "" if it does."""
    with tempfile.TemporaryDirectory(prefix="jseg-nvcc-") as folder:
        command = [str(home / "bin" / "nvcc"), "-std=c++14", "-x", "cu", f"-ccbin={compiler}", f"-I{home / 'include'}",
                   "-c", "-o", os.path.join(folder, "check.o"), str(_SHIPPED / "check.cu")]
        try:
            result = subprocess.run(command, capture_output=True, text=True, timeout=_COMPILE_SECONDS)
        except (OSError, subprocess.SubprocessError) as error:
            return f"nvcc does not run: {error}"
    if result.returncode == 0:
        return ""
    lines = (result.stderr + result.stdout).splitlines()
    first = next((line for line in lines if "error" in line.lower()), lines[0] if lines else "no message")
    hint = "; set cc_path to an older g++" if "unsupported GNU version" in first else ""
    return f"nvcc does not compile on this machine: {first.strip()[:300]}{hint}"
