"""Detection of CUDA on machines of our own making: every layout that toolkits, wheels and PyTorch install."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jseg.runtime.cuda import driver as driver_module
from jseg.runtime.cuda import probe
from jseg.runtime.cuda import toolkit as toolkit_module
from jseg.runtime.cuda.detect import detect
from jseg.runtime.cuda.prepare import rank_settings
from jseg.runtime.cuda.report import cuda_lines
from jseg.runtime.device import select_device
from jseg.runtime.environment import EnvironmentProblem, prepare_jittor


def _wheels_12(machine):
    """One folder a package, as for CUDA 11 and 12."""
    for package, names in (("cuda_runtime", "cudart"), ("cublas", "cublas"), ("curand", "curand"), ("cudnn", "cudnn")):
        folder = machine.site / "nvidia" / package
        machine.libraries(folder / "include", folder / "lib", 12, names)
    machine.nvcc(machine.site / "nvidia" / "cuda_nvcc" / "bin" / "nvcc", "12.9")


def _wheels_13(machine):
    """All in one folder; NCCL and cuDNN keep their own."""
    folder = machine.site / "nvidia" / "cu13"
    machine.nvcc(folder / "bin" / "nvcc", "13.0")
    machine.libraries(folder / "include", folder / "lib", 13)
    nccl = machine.site / "nvidia" / "nccl"
    machine.libraries(nccl / "include", nccl / "lib", 13, "nccl")


def _pytorch_bundle(machine):
    """A toolkit of compilers and headers; the libraries are PyTorch's, the runtime under a name with a hash."""
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
    "wheels cu12": _wheels_12,
    "wheels cu13": _wheels_13,
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
    modern = "13" in device.line.split(" on ")[0]
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
    assert {path.name for path in lib.iterdir()} >= {"libcudart-d0da41ae.so.11.0", "libcublas.so.11", "libcurand.so.10"}


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
        "cudart": "12.4", "cublas": "12.4.5", "curand": "10", "cudnn": "9.1.0"}
    assert {library.source for library in libraries.values()} == {"wheels"}


@pytest.mark.parametrize("name, header", [("libcudnn.so.8", "#define CUDNN_MAJOR 8\n#define CUDNN_MINOR 9\n"
                                           "#define CUDNN_PATCHLEVEL 7\n"), ("libcudnn.so.9", ""), (None, "")])
def test_cudnn_of_any_version_or_none_is_not_used(machine, name, header):
    """Jittor asks for cuDNN 8's file names and dies with 9: it is kept away from both."""
    machine.driver()
    root = machine.toolkit("12.4")
    if name:
        (root / "lib64" / name).touch()
    if header:
        (root / "include" / "cudnn_version.h").write_text(header)
    assert prepare_jittor().kind == "cuda" and os.environ["conv_opt"] == "1"
    text = " ".join(line.text for line in cuda_lines_of(machine))
    assert {"libcudnn.so.8": "cuDNN 8.9.7", "libcudnn.so.9": "cuDNN 9", None: "no cuDNN"}[name] in text


def cuda_lines_of(machine):
    """The doctor's lines in a process that has not prepared anything."""
    os.environ.pop("nvcc_path", None)
    return cuda_lines()


PROBLEMS = {
    "nvcc without libraries": (dict(), lambda m: m.toolkit("12.4", names="cudart"),
                               "cuBLAS and cuRAND are missing; pip install nvidia-cuda-runtime-cu12 nvidia-cublas"),
    "libraries of another release": (dict(), lambda m: m.libraries(
        m.toolkit("12.4", names="cudart curand") / "include", m.opt / "cuda-12.4" / "lib64", 11, "cublas"),
                                     "cuBLAS is missing"),
    "no toolkit": (dict(), lambda m: None, "1 GPU (Test GPU), but no nvcc; install the CUDA toolkit, or pip install"),
    "driver without a device": (dict(problem="the CUDA driver reports no device", gpus=0), lambda m: m.toolkit("12.4"),
                                "reports no device"),
    "driver too old": (dict(version=(12, 4)), lambda m: m.toolkit("13.0"), "runs CUDA 12.4 at most"),
    "GPU too old": (dict(capability=(7, 0)), lambda m: m.toolkit("13.0"), "does not compile for Test GPU (sm_70)"),
    "CUDA too old": (dict(), lambda m: m.toolkit("10.2"), "is CUDA 10.2"),
    "compiler too new": (dict(), lambda m: m.toolkit("11.8", most_gcc=11), "install an older g++ beside it"),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_machine_that_cannot_says_why_and_computes_on_the_cpu(machine, name):
    driver, install, sentence = PROBLEMS[name]
    machine.driver(**driver)
    install(machine)
    device = prepare_jittor()
    assert device.kind == "cpu" and not device.expected and sentence in device.line
    assert os.environ["nvcc_path"] == ""
    os.environ["JSEG_DEVICE"] = "cuda"
    with pytest.raises(EnvironmentProblem, match="^--device cuda: .*"):
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
    """Debian, Ubuntu: a script in /usr/bin, headers in /usr/include, libraries in /usr/lib/x86_64-linux-gnu."""
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
    assert device.kind == "cpu" and device.expected and "no CUDA driver" in device.line
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
    caller.write_text(f'#!/bin/sh\n[ "$1" = --dryrun ] && echo "#$ TOP={real}/bin/.." >&2\nexec {real}/bin/nvcc "$@"\n')
    machine.driver()
    assert detect().toolkit.nvcc == real / "bin" / "nvcc"


def test_device_cpu_wins_over_everything(machine):
    machine.driver()
    machine.toolkit("13.0")
    os.environ["JSEG_DEVICE"] = "cpu"
    assert prepare_jittor().line == "CPU (chosen)" and os.environ["nvcc_path"] == ""


def test_nvcc_path_set_to_nothing_switches_cuda_off(machine):
    machine.driver()
    machine.toolkit("13.0")
    os.environ["nvcc_path"] = ""
    assert cuda_lines()[0].mend == "unset nvcc_path"
    assert "nvcc_path is set to nothing" in prepare_jittor().line


def test_unknown_device_is_named(machine):
    os.environ["JSEG_DEVICE"] = "tpu"
    with pytest.raises(ValueError, match="JSEG_DEVICE=tpu: must be one of auto, cpu, cuda"):
        prepare_jittor()


def test_select_device_before_and_after_jittor_is_loaded(machine, monkeypatch):
    monkeypatch.delitem(sys.modules, "jseg.runtime.backend", raising=False)
    select_device(None)
    assert "JSEG_DEVICE" not in os.environ
    with pytest.raises(ValueError, match="--device cuda: no CUDA driver"):
        select_device("cuda")

    class Loaded:
        device = prepare_jittor.__globals__["Device"]("cpu", "chosen")

    monkeypatch.setitem(sys.modules, "jseg.runtime.backend", Loaded)
    select_device("cpu")
    select_device("auto")
    with pytest.raises(ValueError, match="Jittor already runs on CPU"):
        select_device("cuda")


def test_ranks_share_gpus_or_join_through_nccl(machine):
    machine.driver(gpus=2)
    _wheels_13(machine)
    cuda, home = detect(), Path("/cuda-home")

    def settings(rank, ranks, **more):
        local = {"OMPI_COMM_WORLD_LOCAL_RANK": str(rank), "OMPI_COMM_WORLD_LOCAL_SIZE": str(ranks)}
        return rank_settings({**local, **more}, cuda, home)

    assert rank_settings({}, cuda, home) == {}
    assert rank_settings({"use_mpi": "1"}, cuda, home) == {"use_nccl": "0"}
    assert settings(1, 2, use_nccl="0") == {"use_nccl": "0", "CUDA_VISIBLE_DEVICES": "1"}
    assert settings(1, 2) == {"use_nccl": "1", "nccl_include_path": f"{home}/include", "nccl_lib_path": f"{home}/lib64"}
    assert [settings(rank, 3)["CUDA_VISIBLE_DEVICES"] for rank in range(3)] == ["0", "1", "0"]
    assert settings(1, 3, CUDA_VISIBLE_DEVICES="4, 6")["CUDA_VISIBLE_DEVICES"] == "6"
    del cuda.libraries["nccl"]
    assert settings(1, 2) == {"use_nccl": "0", "CUDA_VISIBLE_DEVICES": "1"}


def test_doctor_lists_what_is_there_and_what_is_off(machine):
    machine.driver(gpus=2)
    _wheels_13(machine)
    lines = {line.name: line for line in cuda_lines()}
    assert lines["CUDA"].usable and "13.0 from wheels" in lines["CUDA"].text
    assert "2 x Test GPU" in lines["GPU"].text and "driver for CUDA 13.0" in lines["GPU"].text
    assert "cuBLAS 13.4.5" in lines["libraries"].text and "NCCL" in lines["NCCL"].name
    off = [line.text for line in cuda_lines() if line.name == "without"]
    assert any("cuDNN" in text for text in off) and any("CUTT" in text for text in off)


_DRIVER_SOURCE = """
int cuDriverGetVersion(int* v) { *v = 12080; return 0; }
int cuInit(unsigned flags) { return INIT; }
int cuGetErrorName(int e, const char** s) { *s = "CUDA_ERROR_TEST"; return 0; }
int cuDeviceGetCount(int* n) { *n = COUNT; return 0; }
int cuDeviceGet(int* d, int n) { *d = n; return 0; }
int cuDeviceGetName(char* s, int n, int d) { s[0] = 'G'; s[1] = 0; return 0; }
int cuDeviceTotalMem_v2(unsigned long* n, int d) { *n = 1ul << 30; return 0; }
int cuDeviceGetAttribute(int* v, int a, int d) { *v = a == 75 ? 8 : 6; return 0; }
int cuDevicePrimaryCtxRetain(void** c, int d) { *c = c; return 0; }
int cuDevicePrimaryCtxRelease_v2(int d) { return 0; }
int cuCtxSetCurrent(void* c) { return 0; }
int cuMemAlloc_v2(unsigned long long* p, unsigned long n) { return ALLOC; }
int cuMemFree_v2(unsigned long long p) { return 0; }
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="compiles a stand-in for the driver")
@pytest.mark.parametrize("init, count, alloc, gpus, problem", [
    (0, 1, 0, 1, ""), (0, 0, 0, 0, ""), (100, 1, 0, 0, "cuInit fails with CUDA_ERROR_TEST"),
    (0, 2, 2, 1, "cuMemAlloc_v2 fails with CUDA_ERROR_TEST")])
def test_probe_asks_a_driver(tmp_path, init, count, alloc, gpus, problem):
    """Good, without a device, dead, and with a GPU that is listed but refuses work."""
    (tmp_path / "driver.c").write_text(_DRIVER_SOURCE)
    subprocess.run(["gcc", "-shared", "-fPIC", f"-DINIT={init}", f"-DCOUNT={count}", f"-DALLOC={alloc}", "-o",
                    str(tmp_path / "libcuda.so.1"), str(tmp_path / "driver.c")], check=True)
    run = subprocess.run([sys.executable, probe.__file__], env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path)},
                         capture_output=True, text=True, check=True)
    found = json.loads(run.stdout)
    assert found["version"] == 12080 and found["problem"] == problem
    assert found["gpus"] == [{"name": "G", "capability": [8, 6], "memory": 1 << 30}] * gpus


def test_a_driver_that_crashes_is_a_reason_not_an_error(monkeypatch, tmp_path):
    monkeypatch.setattr(driver_module.ctypes, "CDLL", lambda name: None)
    crash = tmp_path / "crash.py"
    crash.write_text("import os; os.abort()")
    monkeypatch.setattr(driver_module, "_PROBE", crash)
    assert "crashes" in driver_module.query_driver().problem
    answer = tmp_path / "answer.py"
    answer.write_text("print('{\"version\": 12040, \"gpus\": [], \"problem\": \"\"}')")
    monkeypatch.setattr(driver_module, "_PROBE", answer)
    found = driver_module.query_driver()
    assert found.version == (12, 4) and "reports no device" in found.problem and found.installed
