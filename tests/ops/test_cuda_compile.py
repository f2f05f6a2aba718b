"""nvcc compiles every kernel for sm_80 and sm_90, into registers alone; needs the compiler but no GPU."""

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


def compiler_report(name: str, width: int) -> str:
    """What ptxas says about the kernels of one format and head width; remembered for each content of the sources.

    C++14 and fast mathematics are what Jittor compiles with.
    """
    source = EMULATOR / "compiled_kernels.cu"
    command = [NVCC, "-fatbin", "-std=c++14", "-O3", "--use_fast_math", "-Xptxas", "-v", f"-I{KERNELS}",
               f"-DFORMAT={name}", f"-DWIDTH={width}", str(source)]
    for arch in (80, 90):
        command += ["-gencode", f"arch=compute_{arch},code=sm_{arch}"]
    content = b"".join(path.read_bytes() for path in (source, *sorted(KERNELS.glob("**/*.cuh"))))

    def compile_to(report: Path) -> None:
        built = subprocess.run([*command, "-o", os.devnull], capture_output=True, text=True)
        assert built.returncode == 0, built.stderr
        report.write_text(built.stdout + built.stderr)

    return built_once(f"ptxas_{name}_{width}", ".txt", content + " ".join(command).encode(), compile_to).read_text()


@pytest.mark.skipif(NVCC is None, reason="no nvcc on this machine")
@pytest.mark.parametrize("name", FORMATS)
def test_kernels_compile(name: str) -> None:
    """The width of CLIP's heads. A stack frame or a spill would be an array that left the registers."""
    report = compiler_report(name, 64)
    assert "error" not in report
    for arch in ("sm_80", "sm_90"):
        assert len(re.findall(rf"Compiling entry function .* for '{arch}'", report)) == 11
    assert re.findall(r"\d+ bytes stack frame, .*", report)
    assert set(re.findall(r"\d+ bytes stack frame, .*", report)) == {
        "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads"}
