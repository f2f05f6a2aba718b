"""A machine of our own making: every place that `environment` looks into lies in a temporary folder."""

import os
import sys
from pathlib import Path
from typing import Iterator, List, Union
from unittest import mock

import pytest

from jseg.runtime import environment

# What `prepare_jittor` sets and what users may have set: each test starts without these. JITTOR_HOME is
# among them and no test ever sets it: Jittor would remember it for this user.
_VARIABLES = ("cc_path", "nvcc_path", "use_mpi", "use_mkl", "mpicc_path", "python_config_path", "log_silent",
              "FIX_TORCH_ERROR", "cache_name", "JITTOR_HOME", "OMPI_COMM_WORLD_SIZE",
              "OMPI_COMM_WORLD_LOCAL_SIZE", "OMP_NUM_THREADS", "OMPI_MCA_mpi_yield_when_idle")


class FakeMachine:
    """Holds `bin` (the whole PATH), `prefix` (of the virtual environment) and `cache` (Jittor's)."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.bin, self.prefix, self.cache = root, root / "bin", root / "prefix", root / "cache"
        self.loaded: List[str] = []  # libraries that were opened
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
        version = "".join(f"#define DNNL_VERSION_{name} {number}\n"
                          for name, number in (("MAJOR", 2), ("MINOR", 6), ("PATCH", 0)))
        (prefix / "include" / "dnnl_version.h").write_text(version)
        (prefix / "lib" / "libdnnl.so.2").touch()
        return prefix

    def driver(self, answer: Union[int, str]) -> None:
        """Number of CUDA devices, or the sentence that says why there are none."""
        self._monkeypatch.setattr(environment, "_cuda_device_count", lambda: answer)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeMachine]:
    """g++, Python headers, python-config and oneDNN are there; no MPI, no nvcc, no CUDA driver."""
    fake = FakeMachine(tmp_path, monkeypatch)
    fake.program(fake.bin / "g++", "g++ (test) 12.2.0")
    fake.onednn(fake.prefix)
    fake.driver("no CUDA driver (libcuda) on this machine")
    monkeypatch.setattr(sys, "prefix", str(fake.prefix))
    monkeypatch.setattr(environment, "_prefixes", lambda: [fake.prefix])
    monkeypatch.setattr(environment, "jittor_cache", lambda: fake.cache)
    monkeypatch.setattr(environment, "find_python_headers", lambda: environment.Found(Path("Python.h"), ""))
    monkeypatch.setattr(environment, "_python_config_candidates", lambda: [__file__])
    monkeypatch.setattr(environment.ctypes, "CDLL", lambda path, mode=0: fake.loaded.append(path))
    variables = {name: value for name, value in os.environ.items() if name not in _VARIABLES}
    with mock.patch.dict(os.environ, {**variables, "PATH": str(fake.bin)}, clear=True):
        yield fake
