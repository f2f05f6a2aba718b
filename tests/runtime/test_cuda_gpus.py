"""Which GPUs a process takes, how processes of mpirun are joined, and for which GPUs kernels are compiled."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from jseg.runtime.cuda.detect import detect
from jseg.runtime.cuda.driver import Gpu
from jseg.runtime.cuda.prepare import rank_settings
from jseg.runtime.cuda.report import cuda_lines
from jseg.runtime.environment import EnvironmentProblem, prepare_jittor

_RANK, _RANKS = "OMPI_COMM_WORLD_LOCAL_RANK", "OMPI_COMM_WORLD_LOCAL_SIZE"


def test_ranks_share_gpus_or_join_through_nccl(machine):
    machine.driver(gpus=2)
    machine.wheels_13()
    cuda, home = detect(), Path("/cuda-home")
    paths = {"nccl_include_path": f"{home}/include", "nccl_lib_path": f"{home}/lib64"}

    def settings(rank, ranks, **more):
        return rank_settings({_RANK: str(rank), _RANKS: str(ranks), **more}, cuda, home)

    assert rank_settings({}, cuda, home) == {}
    assert rank_settings({"use_mpi": "1"}, cuda, home) == {"use_nccl": "0"}
    assert rank_settings({"use_mpi": "1", "use_nccl": "1"}, cuda, home) == {}
    assert settings(1, 2, use_nccl="0") == {"use_nccl": "0", "CUDA_VISIBLE_DEVICES": "1"}
    assert settings(1, 2) == {"use_nccl": "1", **paths}
    assert settings(1, 2, **settings(1, 2)) == {}  # as in a process started from this one
    assert [settings(rank, 3)["CUDA_VISIBLE_DEVICES"] for rank in range(3)] == ["0", "1", "0"]
    assert settings(1, 3, CUDA_VISIBLE_DEVICES="4, 6")["CUDA_VISIBLE_DEVICES"] == "6"
    assert settings(1, 3, use_nccl="1") == paths  # as the user wants it
    assert settings(1, 3, use_nccl="1", **dict.fromkeys(paths, "/mine")) == {}
    del cuda.libraries["nccl"]
    assert settings(1, 2) == {"use_nccl": "0", "CUDA_VISIBLE_DEVICES": "1"}
    assert settings(1, 2, use_nccl="1") == {}


def test_nccl_of_another_cuda_does_not_count(machine):
    """`nvidia-nccl-cu12` and `-cu13` put the same file names into the same folder."""
    machine.driver()
    machine.wheels_13()
    wheel = machine.site / "nvidia_nccl_cu13-2.20.5.dist-info"
    wheel.mkdir()
    assert "nccl" in detect().libraries
    wheel.rename(machine.site / "nvidia_nccl_cu12-2.20.5.dist-info")
    assert "nccl" not in detect().libraries
    nccl = next(line for line in cuda_lines() if line.name == "NCCL")
    assert not nccl.usable and nccl.fix.startswith("pip install nvidia-nccl-cu13")


@pytest.mark.parametrize("visible, expected", [(None, "0,2"), ("3,1,5", "3,5")])
def test_a_gpu_that_refuses_work_is_left_out_with_a_warning(machine, visible, expected):
    """It used to disable CUDA for all of them."""
    machine.driver(gpus=3, refused=(1,))
    machine.toolkit("13.0")
    if visible:
        os.environ["CUDA_VISIBLE_DEVICES"] = visible
    device = prepare_jittor()
    assert device.kind == "cuda" and "2 x Test GPU" in device.line
    assert re.findall(r"GPU \d", device.warning) == ["GPU 1"]
    assert "GPU 1 (Test GPU)" in device.warning and "cuMemAlloc_v2" in device.warning
    assert os.environ["CUDA_VISIBLE_DEVICES"] == expected
    (line,) = (line for line in cuda_lines() if line.name == "GPU" and not line.usable)
    assert "GPU 1" in line.text and line.fix == "free its memory"


def test_a_rank_whose_gpu_refuses_work_ends_with_a_reason(machine):
    """On the CPU, its results would differ from those of the others, which with NCCL would wait for it
    forever."""
    machine.driver("the GPU refuses work: GPU 1 (Test GPU): full", gpus=2, refused=(1,))
    machine.toolkit("13.0")
    assert prepare_jittor().kind == "cpu"
    os.environ[_RANK] = "1"
    with pytest.raises(EnvironmentProblem, match=r"GPU 1\b.*\bCUDA_VISIBLE_DEVICES\b.*--device cpu"):
        prepare_jittor()


def _handed_on(root, *arguments):
    """Arguments of the nvcc of the toolkit in `root` when Jittor calls the one in our folder."""
    subprocess.run([os.environ["nvcc_path"], *arguments, "-ccbin=g++"], check=True)
    return (root / "arguments").read_text().splitlines()[-1].split()


@pytest.mark.parametrize(
    "release, codes, capability, expected",
    [
        ("13.0", "75 80 90 100 120", (12, 0), ["arch=compute_120,code=sm_120"]),
        ("12.4", "75 80 90", (12, 0), ["arch=compute_90,code=sm_90", "arch=compute_90,code=compute_90"]),
        ("12.8", "80 90 100", (10, 3), ["arch=compute_100,code=sm_100", "arch=compute_100,code=compute_100"]),
        ("12.4", "75 80 90", (9, 0), ["arch=compute_90,code=sm_90"]),
    ],
)
def test_kernels_are_compiled_for_the_gpu_that_is_there(machine, release, codes, capability, expected):
    """Jittor requests at most sm_90 and no PTX, so on a newer GPU
    its kernels did not run, without an error."""
    machine.driver(capability=capability)
    root = machine.toolkit(release, codes=codes)
    assert prepare_jittor().kind == "cuda"
    for flags in (("-arch=compute_90", "-code=sm_90"), ()):  # kernels, and Jittor's own files
        given = _handed_on(root, *flags, "-std=c++14", "-c", "kernel.cu")
        assert [given[i + 1] for i, word in enumerate(given) if word == "-gencode"] == expected
        assert not any(word.startswith(("-arch", "-code")) for word in given)
    own = _handed_on(root, "-arch=compute_90", "-code=sm_90", "-gencode", "arch=compute_90a,code=sm_90a")
    assert own.count("-gencode") == 1  # the user's nvcc_flags
    notes = [line.text for line in cuda_lines() if line.name == "GPU" and not line.usable]
    assert bool(notes) == (len(expected) == 2)


def test_a_toolkit_that_knows_the_gpu_comes_before_one_that_does_not(machine):
    machine.driver(capability=(12, 0), version=(12, 8))
    machine.toolkit("12.9", codes="80 90")
    machine.toolkit("12.8", codes="80 90 120")
    assert detect().toolkit.release == (12, 8)


def test_a_gpu_too_old_for_the_toolkit_is_left_out_unless_another_takes_both(machine):
    machine.gpus(Gpu("New", (9, 0), 80 << 30, 0), Gpu("Old", (6, 1), 2 << 30, 1))
    machine.toolkit("13.0", codes="75 80 90")
    device = prepare_jittor()
    assert device.kind == "cuda" and os.environ["CUDA_VISIBLE_DEVICES"] == "0"
    assert re.search(r"GPU 1 \(Old\).*\bnvcc\b.*\bsm_61\b", device.warning)
    machine.toolkit("12.4", codes="50 60 61 90")
    assert detect().toolkit.release == (12, 4) and not detect().driver.refused
