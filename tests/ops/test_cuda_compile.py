"""Checks that nvcc compiles every kernel for sm_80 and sm_90 and keeps arrays in registers, without a GPU."""

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from emulated import EMULATOR, FORMATS, KERNELS, built_once

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]  # of all kernels together, on a busy machine


def find_nvcc() -> str | None:
    usual = sorted(Path("/usr/local").glob("cuda*/bin/nvcc"))
    return shutil.which("nvcc") or (str(usual[-1]) if usual else None)


NVCC = find_nvcc()
MOST_SPILLED = 64
"""Largest stack of a thread in bytes. The smallest array of a kernel is twice as large."""


BUILT = [
    (name, width)
    for name in FORMATS
    for width in (16, 32, 64, 128)
    if width < 128 or name in ("Half", "Bfloat")
]
"""Formats and head widths that jseg.ops.cuda asks for."""

TIMING = Path(__file__).resolve().parents[2] / "benchmarks" / "attention_kernels.cu"


def compiler_report(source: Path, options: Sequence[str]) -> str:
    """Returns the output of nvcc and ptxas for the kernels that a file includes.

    The output is cached for each content of the sources.
    """
    command = [
        NVCC,
        "-fatbin",
        "-O3",
        "--use_fast_math",
        "-Xptxas",
        "-v",
        f"-I{KERNELS}",
        *options,
        str(source),
    ]
    version = subprocess.run([NVCC, "--version"], capture_output=True).stdout
    content = version + b"".join(path.read_bytes() for path in (source, *sorted(KERNELS.glob("**/*.cuh"))))

    def compile_to(report: Path) -> None:
        built = subprocess.run([*command, "-o", os.devnull], capture_output=True, text=True)
        assert built.returncode == 0, built.stderr
        report.write_text(built.stdout + built.stderr)

    return built_once(
        f"ptxas_{source.stem}", ".txt", content + " ".join(options).encode(), compile_to
    ).read_text()


def report_of(name: str, width: int) -> str:
    """Returns the report on all kernels of a format and head width, for sm_80 and sm_90 in Jittor's C++14."""
    architectures = [f"-gencode=arch=compute_{number},code=sm_{number}" for number in (80, 90)]
    options = ["-std=c++14", f"-DFORMAT={name}", f"-DWIDTH={width}", *architectures]
    return compiler_report(EMULATOR / "compiled_kernels.cu", options)


@pytest.fixture(scope="module")
def reports() -> dict[tuple[str, int], str]:
    """Reports on everything that is built, compiled in parallel since each takes many seconds of one core."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(BUILT, pool.map(lambda key: report_of(*key), BUILT)))


@pytest.mark.skipif(NVCC is None, reason="no nvcc on this machine")
@pytest.mark.parametrize("name, width", BUILT)
def test_kernels_compile(reports: dict[tuple[str, int], str], name: str, width: int) -> None:
    """A few values may be spilled, but more would mean that an array left the registers."""
    report = reports[name, width]
    assert "error" not in report
    for arch in ("sm_80", "sm_90"):
        assert len(re.findall(rf"Compiling entry function .* for '{arch}'", report)) == 17
    spilled = [
        tuple(map(int, sizes))
        for sizes in re.findall(
            r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", report
        )
    ]
    assert len(spilled) >= 34
    assert max(frame for frame, _, _ in spilled) <= MOST_SPILLED
    # CUDA 12.4 loads some of them twice.
    assert max(max(stores, loads) for _, stores, loads in spilled) <= 2 * MOST_SPILLED


@pytest.mark.skipif(NVCC is None, reason="no nvcc on this machine")
def test_the_timing_program_compiles() -> None:
    """It calls the kernels directly, so a change to them could break it unnoticed."""
    assert "Compiling entry function" in compiler_report(TIMING, ["-std=c++17", "-arch=sm_90"])
