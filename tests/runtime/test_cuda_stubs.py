"""The stubs of the CUDA dry run count what a program asks of a GPU."""

import ctypes
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import pytest
from cuda_calls import Calls, Copy, counts_of
from cuda_counts import Limits, Row, largest, line
from cuda_stubs import make_stub

from jseg.runtime.backend import _copy_arrays_at_once

_FUNCTIONS = (
    "cudaMalloc",
    "cudaMallocHost",
    "cudaFree",
    "cudaMemcpy",
    "cudaMemcpyAsync",
    "cudaMemsetAsync",
    "cudaDeviceSynchronize",
    "cudaStreamWaitEvent",
    "cudaLaunchKernel",
    "cublasGemmEx",
    "cublasSetStream_v2",
    "curandGenerateUniform",
)
_DEFAULT = 4  # cudaMemcpyDefault


@pytest.fixture
def library(tmp_path):
    """A stub of a library that has these functions."""
    if not shutil.which("gcc") or not shutil.which("nm"):
        pytest.skip("no gcc or binutils on this machine")
    for name in ("lib64", "include"):
        (tmp_path / name).mkdir()
    real = tmp_path / "libcudart.so.99"
    source = tmp_path / "real.c"
    source.write_text("".join(f"int {name}() {{ return 1; }}\n" for name in _FUNCTIONS))
    subprocess.run(
        ["gcc", "-w", "-shared", "-fPIC", str(source), "-o", str(real), f"-Wl,-soname,{real.name}"],
        check=True,
    )
    make_stub(real, tmp_path, 90)
    return tmp_path / "lib64" / real.name


def _allocated(stub, name, size):
    place = ctypes.c_void_p()
    assert getattr(stub, name)(ctypes.byref(place), ctypes.c_size_t(size)) == 0
    return place


def test_calls_and_copies_are_counted_by_what_they_ask_for(library):
    stub, calls = ctypes.CDLL(str(library)), Calls([library])
    device, host = _allocated(stub, "cudaMalloc", 4096), _allocated(stub, "cudaMallocHost", 4096)
    inside = ctypes.c_void_p(device.value + 1024)

    def copy(name, to, source, size, kind):
        getattr(stub, name)(to, source, ctypes.c_size_t(size), kind, None)

    copy("cudaMemcpyAsync", device, host, 100, 1)
    copy("cudaMemcpy", host, device, 200, 2)
    copy("cudaMemcpyAsync", inside, device, 300, _DEFAULT)
    copy("cudaMemcpyAsync", host, inside, 400, _DEFAULT)
    for name in ("cudaDeviceSynchronize", "cudaStreamWaitEvent", "cublasGemmEx", "cublasSetStream_v2"):
        getattr(stub, name)()
    for _ in range(3):
        stub.cudaLaunchKernel()
    stub.curandGenerateUniform()
    found = calls.counts()
    assert found._replace(copies={}) == (
        3,
        1,
        1,
        0,
        2,
        2,
        {},
    )  # cudaMemcpy waits, an event on a stream does not
    assert found.copies == {
        "host to host": [],
        "to the device": [100],
        "to the host": [200, 400],
        "on the device": [300],
    }
    calls.reset()
    assert not calls.functions() and not calls.copies()


def test_a_block_that_was_freed_is_no_longer_on_the_device(library):
    stub, calls = ctypes.CDLL(str(library)), Calls([library])
    device, host = _allocated(stub, "cudaMalloc", 64), _allocated(stub, "cudaMallocHost", 64)
    stub.cudaFree(device)
    stub.cudaMemcpyAsync(host, host, ctypes.c_size_t(8), _DEFAULT, None)
    again = _allocated(stub, "cudaMallocHost", 64)
    stub.cudaMemcpyAsync(again, host, ctypes.c_size_t(8), _DEFAULT, None)
    assert calls.copies() == [Copy("host to host", 8)] * 2


def test_functions_that_only_look_alike_are_not_counted():
    names = ("cudaStreamSynchronize", "cudaLaunchHostFunc", "cudaMemGetInfo", "cublasGetMathMode")
    found = counts_of(Counter(names), [])
    assert (found.launches, found.products, found.syncs, found.allocations) == (0, 0, 1, 0)


def test_a_library_that_is_no_stub_is_refused():
    with pytest.raises(OSError, match="no stub"):
        Calls([Path("libc.so.6")])


def test_the_largest_counts_of_several_runs_stand_in_the_table():
    few = counts_of(Counter(cudaLaunchKernel=2, cudaMalloc=1), [Copy("to the host", 1500)])
    many = counts_of(Counter(cudaLaunchKernel=1, cublasGemmEx=1), [Copy("to the host", 1)] * 3)
    row = Row("a step", 7, ["key of an operator"], 4, largest([few, many]))
    assert line(row) == "| a step | 7 (1) | 4 | 2 + 1 | 0 (0 B) | 1 (1.5 kB) | 0 (0 B) | 0 | 0 |"


def test_violations_of_what_should_hold():
    free = counts_of(Counter(cudaLaunchKernel=9), [Copy("to the device", 100)])
    assert Row("a step", 7, [], 0, free).violations(Limits()) == []
    counts = counts_of(Counter(cudaMemcpy=1, cudaMalloc=1), [Copy("to the host", 24)])
    row = Row("a step", 7, ["key of an operator"], 2, counts)
    assert row.violations(Limits(1, 24, True)) == ["a step: 1 operators on the CPU", "a step: 1 allocations"]
    assert [text.split(": ")[1] for text in row.violations(Limits())[2:]] == [
        "1 waits",
        "24 bytes to the host",
        "2 new operators",
    ]


def test_arrays_are_copied_without_waiting_unless_the_user_decides(monkeypatch):
    jittor = SimpleNamespace(flags=SimpleNamespace(use_cuda_host_allocator=1))
    monkeypatch.setenv("use_cuda_host_allocator", "1")
    _copy_arrays_at_once(jittor)
    assert jittor.flags.use_cuda_host_allocator == 1
    monkeypatch.delenv("use_cuda_host_allocator")
    _copy_arrays_at_once(jittor)
    assert jittor.flags.use_cuda_host_allocator == 0
