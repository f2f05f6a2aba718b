"""A fake machine: all places that `environment` examines are in a temporary folder."""

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest

from jseg.runtime import environment
from jseg.runtime.cuda import detect, prepare, report, toolkit
from jseg.runtime.cuda.driver import Driver, Gpu
from jseg.runtime.shared_cache import INTERPRETER

# What `prepare_jittor` sets and what users may have set: each test starts without these. JITTOR_HOME is
# among them and no test ever sets it: Jittor would remember it for this user.
_VARIABLES = (
    "cc_path",
    "nvcc_path",
    "use_mpi",
    "use_mkl",
    "mpicc_path",
    "python_config_path",
    "log_silent",
    "FIX_TORCH_ERROR",
    "cache_name",
    "JSEG_CACHE_NAME",
    "kernel_flags",
    INTERPRETER,
    "JITTOR_HOME",
    "OMPI_COMM_WORLD_SIZE",
    "OMPI_COMM_WORLD_LOCAL_RANK",
    "OMPI_COMM_WORLD_LOCAL_SIZE",
    "CUDA_VISIBLE_DEVICES",
    "CUDA_HOME",
    "CUDA_PATH",
    "conv_opt",
    "use_cutt",
    "use_cutlass",
    "use_nccl",
    "nccl_include_path",
    "nccl_lib_path",
    "JSEG_DEVICE",
    prepare.OURS,
    prepare.FAILED,
    "OMP_NUM_THREADS",
    *(f"OMPI_MCA_{name}" for name in environment.MPI_SETTINGS),
)


class FakeMachine:
    """Holds `bin` (the whole PATH), `prefix` (of the virtual environment), `cache` (Jittor's), `opt` (where
    toolkits are installed) and `site` (installed packages)."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.bin, self.prefix, self.cache = root, root / "bin", root / "prefix", root / "cache"
        self.opt, self.site = root / "opt", root / "site-packages"
        self.loaded: list[str] = []  # libraries that were opened
        self._monkeypatch = monkeypatch
        self.bin.mkdir()

    def program(self, path: Path, text: str) -> Path:
        """Writes an executable that prints `text`."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/sh\nprintf '%s\\n' '{text}'\n")
        path.chmod(0o755)
        return path

    def onednn(self, prefix: Path) -> Path:
        """Puts there the files of the oneDNN wheels that are looked for."""
        (prefix / "include").mkdir(parents=True)
        (prefix / "lib").mkdir()
        (prefix / "include" / "dnnl.hpp").touch()
        version = "".join(
            f"#define DNNL_VERSION_{name} {number}\n"
            for name, number in (("MAJOR", 2), ("MINOR", 6), ("PATCH", 0))
        )
        (prefix / "include" / "dnnl_version.h").write_text(version)
        (prefix / "lib" / "libdnnl.so.2").touch()
        return prefix

    def driver(
        self,
        problem: str = "",
        version: tuple[int, int] = (13, 0),
        gpus: int = 1,
        capability: tuple[int, int] = (9, 0),
        refused: tuple[int, ...] = (),
        installed: bool = True,
    ) -> None:
        """A driver with so many equal GPUs, of which those with the numbers `refused` refuse work."""
        all_gpus = [Gpu("Test GPU", capability, 80 << 30, number) for number in range(gpus)]
        self.gpus(
            *(
                gpu
                if gpu.number not in refused
                else replace(gpu, problem="cuMemAlloc_v2 fails; free its memory")
                for gpu in all_gpus
            ),
            problem=problem,
            version=version,
            installed=installed,
        )

    def gpus(
        self, *gpus: Gpu, problem: str = "", version: tuple[int, int] = (13, 0), installed: bool = True
    ) -> None:
        """A driver with these GPUs; those with a problem refuse work."""
        answer = Driver(
            version,
            tuple(gpu for gpu in gpus if not gpu.problem),
            problem,
            tuple(gpu for gpu in gpus if gpu.problem),
            installed,
        )
        for module in (detect, prepare, report):
            self._monkeypatch.setattr(module, "query_driver", lambda tried="first": answer)

    def nvcc(self, path: Path, release: str, codes: str = "80 86 90", most_gcc: int = 99) -> Path:
        """A compiler that answers what it is asked for; it compiles nothing, and refuses a g++ newer than
        `most_gcc`. Beside its folder, `calls` lists each C++ compiler that it was asked to use, `arguments`
        all it was handed."""
        path.parent.mkdir(parents=True, exist_ok=True)
        listed = " ".join(f"sm_{code}" for code in codes.split())
        calls = path.parents[1] / "calls"
        compiling = (
            "for word do case $word in -ccbin=*) compiler=${word#-ccbin=} ;; esac; done; "
            f"echo $compiler >> {calls}; echo $* >> {path.parents[1] / 'arguments'}; "
            "version=$($compiler); version=${version##* }; "
            f"[ ${{version%%.*}} -le {most_gcc} ] && exit 0; "
            "echo 'check.cu: error: #error -- unsupported GNU version!' >&2; exit 1"
        )
        path.write_text(
            f"#!/bin/sh\ncase $1 in\n--version) echo 'Cuda compilation tools, release {release}, V1' ;;\n"
            f"--list-gpu-code) printf '%s\\n' {listed} ;;\n"
            f"*) {compiling} ;;\nesac\n"
        )
        path.chmod(0o755)
        return path

    def libraries(self, include: Path, lib: Path, major: int, names: str = "cudart cublas curand") -> None:
        """Headers and shared objects as CUDA 11, 12 and 13 name them."""
        include.mkdir(parents=True, exist_ok=True)
        lib.mkdir(parents=True, exist_ok=True)
        for name in names.split():
            header, text, soname = _LIBRARIES[name]
            (include / header).write_text(text.format(major=major))
            (lib / soname.format(major=major, runtime="11.0" if major == 11 else major)).touch()
        if "cudart" in names.split():
            (include / "cuda_runtime.h").touch()

    def toolkit(self, release: str, names: str = "cudart cublas curand", **options: object) -> Path:
        """A system installation; its folder."""
        root = self.opt / f"cuda-{release}"
        self.nvcc(root / "bin" / "nvcc", release, **options)
        self.libraries(root / "include", root / "lib64", int(release.split(".")[0]), names)
        return root

    def wheels_13(self) -> None:
        """The wheels of CUDA 13: all in one folder; NCCL keeps its own."""
        folder = self.site / "nvidia" / "cu13"
        self.nvcc(folder / "bin" / "nvcc", "13.0")
        self.libraries(folder / "include", folder / "lib", 13)
        nccl = self.site / "nvidia" / "nccl"
        self.libraries(nccl / "include", nccl / "lib", 13, "nccl")


# Name of a library -> header, its text, name of the shared object.
_LIBRARIES = {
    "cudart": ("cuda_runtime_api.h", "#define CUDART_VERSION  {major}040\n", "libcudart.so.{runtime}"),
    "cublas": (
        "cublas_api.h",
        "#define CUBLAS_VER_MAJOR {major}\n#define CUBLAS_VER_MINOR 4\n#define CUBLAS_VER_PATCH 5\n",
        "libcublas.so.{major}",
    ),
    "curand": ("curand.h", "", "libcurand.so.10"),
    "nccl": ("nccl.h", "#define NCCL_MAJOR 2\n#define NCCL_MINOR 20\n#define NCCL_PATCH 5\n", "libnccl.so.2"),
    "cudnn": (
        "cudnn_version.h",
        "#define CUDNN_MAJOR 9\n#define CUDNN_MINOR 1\n#define CUDNN_PATCHLEVEL 0\n",
        "libcudnn.so.9",
    ),
}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeMachine]:
    """g++, Python headers, python-config and oneDNN are there; no MPI, no nvcc, no CUDA driver."""
    fake = FakeMachine(tmp_path, monkeypatch)
    fake.program(fake.bin / "g++", "g++ (test) 12.2.0")
    fake.onednn(fake.prefix)
    fake.driver("no CUDA driver (libcuda.so.1) on this machine", version=(0, 0), gpus=0, installed=False)
    monkeypatch.setattr(toolkit, "system_roots", lambda: [fake.opt])
    monkeypatch.setattr(toolkit, "site_folders", lambda: [fake.site])
    usr = toolkit.Place("system", fake.root / "usr", fake.root / "usr")
    monkeypatch.setattr(toolkit, "standard_place", lambda: usr)
    monkeypatch.setattr(sys, "prefix", str(fake.prefix))
    monkeypatch.setattr(environment, "_prefixes", lambda: [fake.prefix])
    monkeypatch.setattr(environment, "jittor_cache", lambda: fake.cache)
    monkeypatch.setattr(environment, "find_python_headers", lambda: environment.Found(Path("Python.h"), ""))
    monkeypatch.setattr(environment, "_python_config_candidates", lambda: [__file__])
    monkeypatch.setattr(environment.ctypes, "CDLL", lambda path, mode=0: fake.loaded.append(path))
    variables = {name: value for name, value in os.environ.items() if name not in _VARIABLES}
    with mock.patch.dict(os.environ, {**variables, "PATH": str(fake.bin)}, clear=True):
        yield fake
