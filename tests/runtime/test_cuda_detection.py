"""Detection of CUDA on fake machines, with all layouts of toolkits, wheels and PyTorch."""

import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from jseg.runtime.cuda import toolkit as toolkit_module
from jseg.runtime.cuda.detect import detect
from jseg.runtime.cuda.report import cuda_lines
from jseg.runtime.environment import EnvironmentProblem, prepare_jittor
from jseg.runtime.selection import select_device


def _wheels_12(machine):
    """Libraries in one folder a package, as for CUDA 11 and 12, and an nvcc in the environment."""
    for package, names in (
        ("cuda_runtime", "cudart"),
        ("cublas", "cublas"),
        ("curand", "curand"),
        ("cudnn", "cudnn"),
    ):
        folder = machine.site / "nvidia" / package
        machine.libraries(folder / "include", folder / "lib", 12, names)
    machine.nvcc(machine.prefix / "bin" / "nvcc", "12.9")  # conda's: no wheel of CUDA 11 or 12 has nvcc


def _pytorch_bundle(machine):
    """A toolkit of compilers and headers; the libraries are
    PyTorch's, the runtime under a name with a hash."""
    root = machine.toolkit("11.8")
    shutil.rmtree(root / "lib64")
    lib = machine.site / "torch" / "lib"
    lib.mkdir(parents=True)
    for name in ("libcudart-d0da41ae.so.11.0", "libcublas.so.11", "libcurand.so.10", "libcudnn.so.8"):
        (lib / name).touch()


LAYOUTS = {
    "system 11.8": lambda machine: machine.toolkit("11.8"),
    "system 12.4": lambda machine: machine.toolkit("12.4"),
    "system 13.0": lambda machine: machine.toolkit("13.0"),
    "nvcc in the environment, wheels cu12": _wheels_12,
    "wheels cu13": lambda machine: machine.wheels_13(),
    "PyTorch bundle": _pytorch_bundle,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_becomes_one_home(machine, layout):
    machine.driver()
    LAYOUTS[layout](machine)
    device = prepare_jittor()
    assert device.kind == "cuda" and "Test GPU (sm_90, 80.0 GiB)" in device.line
    home = Path(os.environ["nvcc_path"]).parents[1]
    assert machine.cache in home.parents
    for name in ("libcudart.so", "libcublas.so", "libcurand.so"):
        assert (home / "lib64" / name).resolve().is_file(), name
    assert "jseg_toolkit" in (home / "include" / "cuda_runtime.h").read_text()
    assert (home / "include" / "jseg_toolkit" / "cuda_runtime.h").is_file()
    assert (home / "include" / "npp.h").is_file() and (home / "include" / "curand.h").is_file()
    modern = "13" in device.line.partition("Test GPU")[0]
    assert ("-std=c++17" in (home / "bin" / "nvcc").read_text()) == modern
    assert (home / "include" / "cub" / "cub.cuh").is_file() == modern
    switches = {name: os.environ[name] for name in ("conv_opt", "use_cutt", "use_cutlass")}
    assert switches == {"conv_opt": "1", "use_cutt": "0", "use_cutlass": "0"}
    assert os.environ["use_mpi"] == "0"  # which keeps NCCL, and its download, away too


def test_libraries_keep_the_names_the_loader_asks_for(machine):
    machine.driver()
    _pytorch_bundle(machine)
    prepare_jittor()
    lib = Path(os.environ["nvcc_path"]).parents[1] / "lib64"
    assert {path.name for path in lib.iterdir()} >= {
        "libcudart-d0da41ae.so.11.0",
        "libcublas.so.11",
        "libcurand.so.10",
    }


def test_runtime_11_keeps_its_odd_name(machine):
    """The loader asks for libcudart.so.11.0, a link to libcudart.so.11.8.89."""
    machine.driver()
    lib = machine.toolkit("11.8") / "lib64"
    (lib / "libcudart.so.11.0").rename(lib / "libcudart.so.11.8.89")
    (lib / "libcudart.so.11.0").symlink_to("libcudart.so.11.8.89")
    (lib / "libcudart.so").symlink_to("libcudart.so.11.0")
    prepare_jittor()
    made = Path(os.environ["nvcc_path"]).parents[1] / "lib64"
    assert {path.name for path in made.glob("libcudart.*")} == {path.name for path in lib.glob("libcudart.*")}


def test_preparing_twice_and_in_a_child_changes_nothing(machine):
    """A process started from this one inherits `nvcc_path` and must not take it for the user's choice."""
    machine.driver()
    machine.toolkit("13.0")
    first = prepare_jittor()
    before = dict(os.environ)
    assert prepare_jittor() == first and dict(os.environ) == before
    machine.driver("gone", version=(0, 0), gpus=0)
    assert prepare_jittor().kind == "cpu" and os.environ["nvcc_path"] == ""


def test_user_switches_stay(machine):
    machine.driver()
    machine.toolkit("12.4")
    os.environ.update(conv_opt="0", use_cutt="1")
    prepare_jittor()
    assert os.environ["conv_opt"] == "0" and os.environ["use_cutt"] == "1"


def test_versions_of_libraries(machine):
    machine.driver()
    _wheels_12(machine)
    libraries = detect().libraries
    assert {name: library.version for name, library in libraries.items()} == {
        "cudart": "12.4",
        "cublas": "12.4.5",
        "curand": "10",
        "cudnn": "9.1.0",
    }
    assert {library.source for library in libraries.values()} == {"wheels"}


@pytest.mark.parametrize(
    "name, header",
    [
        ("libcudnn.so.8", ("#define CUDNN_MAJOR 8\n#define CUDNN_MINOR 9\n#define CUDNN_PATCHLEVEL 7\n")),
        ("libcudnn.so.9", ""),
        (None, ""),
    ],
)
def test_cudnn_of_any_version_or_none_is_not_used(machine, name, header):
    """Jittor requests cuDNN 8's file names and crashes with 9, so it is given neither."""
    machine.driver()
    root = machine.toolkit("12.4")
    if name:
        (root / "lib64" / name).touch()
    if header:
        (root / "include" / "cudnn_version.h").write_text(header)
    assert prepare_jittor().kind == "cuda" and os.environ["conv_opt"] == "1"
    (text,) = (line.text for line in cuda_lines_of(machine) if line.name == "libraries")
    found = {"libcudnn.so.8": ["8.9.7"], "libcudnn.so.9": ["9"], None: []}[name]
    assert "cuDNN" in text and re.findall(r"cuDNN (\d[\d.]*)", text) == found


def cuda_lines_of(machine):
    """The doctor's lines in a process that has not prepared anything."""
    os.environ.pop("nvcc_path", None)
    return cuda_lines()


PROBLEMS = {
    "nvcc without libraries": (
        dict(),
        lambda m: m.toolkit("12.4", names="cudart"),
        r"cuBLAS.*cuRAND.*pip install nvidia-cuda-runtime-cu12 nvidia-cublas",
    ),
    "libraries of another release": (
        dict(),
        lambda m: m.libraries(
            m.toolkit("12.4", names="cudart curand") / "include", m.opt / "cuda-12.4" / "lib64", 11, "cublas"
        ),
        r"cuBLAS(?!.*cuRAND).*pip install nvidia-cuda-runtime-cu12 nvidia-cublas",
    ),
    "no toolkit": (dict(), lambda m: None, r"\b1 GPU \(Test GPU\).*\bnvcc\b.*pip install"),
    "no toolkit, older driver": (
        dict(version=(12, 4)),
        lambda m: None,  # whose wheels have no nvcc
        (
            r"\bnvcc\b.*CUDA 12\b.*apt-get install nvidia-cuda-toolkit\b.*"
            r"conda install -c nvidia 'cuda-toolkit=12\.\*'"
        ),
    ),
    "no GPU works": (
        dict(problem="the GPU refuses work: GPU 0 (Test GPU)", refused=(0,)),
        lambda m: m.toolkit("13.0"),
        r"GPU 0 \(Test GPU\)",
    ),
    "driver without a device": (
        dict(problem="the CUDA driver reports no device", gpus=0),
        lambda m: m.toolkit("12.4"),
        "reports no device",
    ),
    "driver too old": (
        dict(version=(12, 4)),
        lambda m: m.toolkit("13.0"),
        r"CUDA 12\.4\b.*\bnvcc\b.*\b13\.0\b",
    ),
    "GPU too old": (dict(capability=(7, 0)), lambda m: m.toolkit("13.0"), r"Test GPU \(sm_70\)"),
    "CUDA too old": (dict(), lambda m: m.toolkit("10.2"), r"CUDA 10\.2\b.*CUDA 11\b"),
    "compiler too new": (dict(), lambda m: m.toolkit("11.8", most_gcc=11), r"unsupported GNU version.*g\+\+"),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_machine_that_cannot_says_why_and_computes_on_the_cpu(machine, name):
    driver, install, named = PROBLEMS[name]
    machine.driver(**driver)
    install(machine)
    device = prepare_jittor()
    assert device.kind == "cpu" and "CPU" in device.warning and device.warning.endswith(device.reason)
    assert re.search(named, device.line)
    assert os.environ["nvcc_path"] == ""
    os.environ["JSEG_DEVICE"] = "cuda"
    with pytest.raises(EnvironmentProblem, match="--device cuda"):
        prepare_jittor()


def test_an_older_compiler_is_taken_where_the_usual_one_is_too_new(machine):
    """Debian 12 has g++ 12; its nvcc is 11.8, takes g++ 11 at most and brings that along as g++-11."""
    machine.driver()
    root = machine.toolkit("11.8", most_gcc=11)
    for version in (9, 11, 12):
        machine.program(machine.bin / f"g++-{version}", f"g++ (test) {version}.3.0")
    assert prepare_jittor().kind == "cuda" and os.environ["cc_path"] == str(machine.bin / "g++-11")
    calls = root / "calls"
    tried = calls.read_text().split()
    assert [Path(compiler).name for compiler in tried] == ["g++", "g++-12", "g++-11"]
    before = dict(os.environ)
    assert prepare_jittor().kind == "cuda" and dict(os.environ) == before  # as in a child
    for name in ("cc_path", "nvcc_path"):
        del os.environ[name]
    assert prepare_jittor().kind == "cuda" and os.environ["cc_path"] == before["cc_path"]
    assert calls.read_text().split() == tried  # remembered
    os.environ.pop("nvcc_path")
    os.environ["cc_path"] = str(machine.bin / "g++")
    device = prepare_jittor()
    assert device.kind == "cpu" and "unsupported GNU version" in device.line  # the user's choice stays


def test_every_nvcc_of_path_counts(machine):
    machine.driver(version=(12, 4))
    machine.nvcc(machine.bin / "nvcc", "13.0")
    machine.libraries(machine.root / "include", machine.root / "lib64", 13)
    machine.program(machine.root / "broken" / "nvcc", "not found")
    other = machine.root / "other"
    machine.nvcc(other / "bin" / "nvcc", "12.4")
    machine.libraries(other / "include", other / "lib64", 12)
    os.environ["PATH"] = os.pathsep.join(map(str, (machine.root / "broken", machine.bin, other / "bin")))
    assert detect().toolkit.nvcc == other / "bin" / "nvcc"


def test_a_distribution_splits_the_toolkit_over_its_own_folders(machine):
    """Debian, Ubuntu: a script in /usr/bin, headers in /usr/include, libraries in
    /usr/lib/x86_64-linux-gnu."""
    usr = toolkit_module.standard_place()
    caller = machine.nvcc(machine.bin / "nvcc", "12.4")
    machine.libraries(usr.include, usr.lib, 12)
    machine.driver()
    cuda = detect()
    assert cuda.toolkit.nvcc == caller and not cuda.problem
    assert {library.source for library in cuda.libraries.values()} == {"system"}


def test_a_toolkit_without_a_driver_is_nothing_unusual(machine):
    """nvcc alone made Jittor link the CUDA runtime and abort at import."""
    machine.toolkit("12.4")
    device = prepare_jittor()
    assert device.kind == "cpu" and not device.warning and "libcuda.so.1" in device.line
    assert os.environ["nvcc_path"] == ""


def test_of_several_toolkits_the_first_that_fits_is_taken(machine):
    machine.driver(version=(12, 8))
    machine.toolkit("13.0")
    machine.toolkit("12.4")
    machine.toolkit("11.8")
    assert detect().toolkit.release == (12, 4)
    machine.toolkit("9.1")
    assert detect().toolkit.release == (12, 4)


def test_a_program_that_calls_nvcc_leads_to_the_toolkit_behind_it(machine):
    """As some machines have in /usr/local/bin: `exec /usr/local/cuda-13.0/bin/nvcc "$@"`."""
    root = machine.toolkit("13.0")
    real = root.rename(machine.root / "hidden")
    caller = machine.program(machine.bin / "nvcc", "")
    caller.write_text(
        f'#!/bin/sh\n[ "$1" = --dryrun ] && echo "#$ TOP={real}/bin/.." >&2\nexec {real}/bin/nvcc "$@"\n'
    )
    machine.driver()
    assert detect().toolkit.nvcc == real / "bin" / "nvcc"


def test_device_cpu_wins_over_everything(machine):
    machine.driver()
    machine.toolkit("13.0")
    os.environ["JSEG_DEVICE"] = "cpu"
    device = prepare_jittor()
    assert device.kind == "cpu" and not device.warning and os.environ["nvcc_path"] == ""


def test_nvcc_path_set_to_nothing_switches_cuda_off(machine):
    machine.driver()
    machine.toolkit("13.0")
    os.environ["nvcc_path"] = ""
    assert cuda_lines()[0].fix == "unset nvcc_path"
    assert "nvcc_path" in prepare_jittor().line


def test_unknown_device_is_named(machine):
    os.environ["JSEG_DEVICE"] = "tpu"
    with pytest.raises(ValueError, match="JSEG_DEVICE=tpu.*auto, cpu, cuda"):
        prepare_jittor()


def test_select_device_before_and_after_jittor_is_loaded(machine, monkeypatch):
    monkeypatch.delitem(sys.modules, "jseg.runtime.backend", raising=False)
    select_device(None)
    assert "JSEG_DEVICE" not in os.environ
    with pytest.raises(ValueError, match=r"--device cuda\b.*libcuda\.so\.1"):
        select_device("cuda")

    class Loaded:
        device = prepare_jittor.__globals__["Device"]("cpu", "chosen")

    monkeypatch.setitem(sys.modules, "jseg.runtime.backend", Loaded)
    select_device("cpu")
    select_device("auto")
    with pytest.raises(ValueError, match=r"--device cuda\b.*CPU \(chosen\)"):
        select_device("cuda")
