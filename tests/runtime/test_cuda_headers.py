"""jseg's headers and front end of nvcc work with the real nvcc, if there is one."""

import os
import re
import subprocess

import pytest

from jseg.runtime.cuda.detect import detect
from jseg.runtime.cuda.driver import Driver, Gpu
from jseg.runtime.cuda.home import write_home

_SOURCE = """
#include <npp.h>
#include <cub/cub.cuh>
struct Square {
    __host__ __device__ float operator()(int i) const { return float(i) * i; }
};
__global__ void check(float* out, long long* limit) {
    cub::CountingInputIterator<int> count(0);
    cub::TransformInputIterator<float, Square, cub::CountingInputIterator<int>> squares(count, Square());
    float most = cub::Max()(squares[threadIdx.x], cub::Sum()(1.f, cub::Min()(2.f, 3.f)));
    out[threadIdx.x] = most + cub::LaneId();
    limit[0] = NPP_MAX_64S;
}
int device_property(const cudaDeviceProp& properties) {
    return properties.computeMode == cudaComputeModeProhibited ? 0 : properties.clockRate;
}
"""


def test_headers_of_our_own_compile(tmp_path):
    """Jittor's -std=c++14 comes along, and CUDA 13 does without the names that Jittor uses. Of CUB, which
    takes nvcc ten times as long as the rest, only the version is included."""
    cuda = detect(Driver((99, 0), (Gpu("any", (9, 0), 1 << 30),), ""))
    if cuda.toolkit is None or "cudart" not in cuda.libraries:
        pytest.skip("no nvcc on this machine")
    write_home(tmp_path / "home", cuda)
    stand_in = tmp_path / "cub_version" / "cub"
    stand_in.mkdir(parents=True)
    parts = (
        ["version"]
        if cuda.toolkit.release >= (13, 0)
        else [
            "util_ptx",
            "iterator/counting_input_iterator",
            "iterator/transform_input_iterator",
            "thread/thread_operators",
        ]
    )
    (stand_in / "cub.cuh").write_text("".join(f"#include <cub/{part}.cuh>\n" for part in parts))
    (tmp_path / "check.cu").write_text(_SOURCE)
    architectures = [
        part for code in (80, 90) for part in ("-gencode", f"arch=compute_{code},code=sm_{code}")
    ]
    run = subprocess.run(
        [
            str(tmp_path / "home" / "bin" / "nvcc"),
            "-std=c++14",
            f"-I{tmp_path / 'home' / 'include'}",
            f"-I{tmp_path / 'cub_version'}",
            *architectures,
            "-c",
            "-o",
            str(tmp_path / "check.o"),
            str(tmp_path / "check.cu"),
        ],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr


def test_front_end_asks_the_real_nvcc_for_the_gpu_that_is_there(tmp_path):
    """With Jittor's flags, which name sm_90, for a GPU that nvcc
    knows and for one that comes after all of them."""
    for capability in ((8, 6), (99, 0)):
        cuda = detect(Driver((99, 0), (Gpu("any", capability, 1 << 30),), ""))
        if cuda.toolkit is None or "cudart" not in cuda.libraries:
            pytest.skip("no nvcc on this machine")
        home = tmp_path / str(capability[0])
        write_home(home, cuda)
        run = subprocess.run(
            [
                str(home / "bin" / "nvcc"),
                "--dryrun",
                "-std=c++14",
                "-x",
                "cu",
                "-arch=compute_90",
                "-code=sm_90",
                "-c",
                "-o",
                str(tmp_path / "check.o"),
                os.devnull,
            ],
            capture_output=True,
            text=True,
        )
        assert run.returncode == 0, run.stderr
        newest = max(cuda.toolkit.codes)
        assert set(re.findall(r" -arch=sm_(\d+)", run.stderr)) == {str(min(newest, cuda.driver.gpus[0].code))}
        assert ("kind=ptx" in run.stderr) == (capability[0] == 99)
