"""nvcc compiles every kernel for sm_80 and sm_90 and keeps arrays in registers; needs the compiler but no GPU."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Optional

import pytest
from emulated import EMULATOR, FORMATS, KERNELS, built_once


def find_nvcc() -> Optional[str]:
    usual = sorted(Path("/usr/local").glob("cuda*/bin/nvcc"))
    return shutil.which("nvcc") or (str(usual[-1]) if usual else None)


NVCC = find_nvcc()
MOST_SPILLED = 64
"""Bytes of a thread's stack; the smallest array of a kernel has twice as many."""


def compiler_report(name: str, width: int) -> str:
    """What ptxas says about the kernels of one format and head width; remembered for each content of the sources.

    C++14 and fast mathematics are what Jittor compiles with.
    """
    source = EMULATOR / "compiled_kernels.cu"
    command = [NVCC, "-fatbin", "-std=c++14", "-O3", "--use_fast_math", "-Xptxas", "-v", f"-I{KERNELS}",
               f"-DFORMAT={name}", f"-DWIDTH={width}", str(source)]
    for arch in (80, 90):
        command += ["-gencode", f"arch=compute_{arch},code=sm_{arch}"]
    version = subprocess.run([NVCC, "--version"], capture_output=True).stdout
    content = version + b"".join(path.read_bytes() for path in (source, *sorted(KERNELS.glob("**/*.cuh"))))

    def compile_to(report: Path) -> None:
        built = subprocess.run([*command, "-o", os.devnull], capture_output=True, text=True)
        assert built.returncode == 0, built.stderr
        report.write_text(built.stdout + built.stderr)

    return built_once(f"ptxas_{name}_{width}", ".txt", content + " ".join(command).encode(), compile_to).read_text()


@pytest.mark.skipif(NVCC is None, reason="no nvcc on this machine")
@pytest.mark.parametrize("name", FORMATS)
def test_kernels_compile(name: str) -> None:
    """The width of CLIP's heads. A few numbers may be spilled; more would be an array that left the registers."""
    report = compiler_report(name, 64)
    assert "error" not in report
    for arch in ("sm_80", "sm_90"):
        assert len(re.findall(rf"Compiling entry function .* for '{arch}'", report)) == 12
    spilled = [tuple(map(int, sizes)) for sizes in re.findall(
        r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", report)]
    assert len(spilled) >= 24
    assert max(frame for frame, _, _ in spilled) <= MOST_SPILLED
    assert max(max(stores, loads) for _, stores, loads in spilled) <= 2 * MOST_SPILLED  # CUDA 12.4 loads some twice
