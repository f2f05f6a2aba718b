"""The driver: queries, and handling of its answers, errors and timeouts."""

import json
import re
import shutil
import subprocess
import sys
import time

import pytest

from jseg.runtime.cuda import driver as driver_module
from jseg.runtime.cuda import probe
from jseg.runtime.cuda.driver import query_driver

_SOURCE = """
#include <stdlib.h>
#include <unistd.h>
static int current = -1;  // number of the GPU whose context was taken
int cuDriverGetVersion(int* v) { *v = 12080; return VERSION; }
int cuInit(unsigned flags) { return INIT; }
int cuGetErrorName(int e, const char** s) { *s = "CUDA_ERROR_TEST"; return e == 34 ? 34 : 0; }
int cuDeviceGetCount(int* n) { *n = COUNT; return 0; }
int cuDeviceGet(int* d, int n) { *d = n; return 0; }
int cuDeviceGetName(char* s, int n, int d) { s[0] = 'A' + d; s[1] = 0; return 0; }
int cuDeviceTotalMem_v2(unsigned long* n, int d) { *n = 1ul << 30; return 0; }
int cuDeviceGetAttribute(int* v, int a, int d) { *v = a == 75 ? 8 : 6; return 0; }
int cuDevicePrimaryCtxRetain(void** c, int d) { *c = (void*)(long)d; return 0; }
int cuDevicePrimaryCtxRelease_v2(int d) { return 0; }
int cuCtxSetCurrent(void* c) { current = (long)c; return 0; }
int cuMemAlloc_v2(unsigned long long* p, unsigned long n) { return FULL & 1 << current ? 2 : 0; }
int cuMemFree_v2(unsigned long long p) { return 0; }
"""


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Builds a driver and puts it in place of the machine's: what its calls return, how many GPUs it has, and
    as bits which of them have no memory left."""
    if shutil.which("gcc") is None:
        pytest.skip("compiles a stand-in for the driver")

    def build(**values):
        (tmp_path / "driver.c").write_text(_SOURCE)
        chosen = {"VERSION": 0, "INIT": 0, "COUNT": 1, "FULL": 0, **values}
        subprocess.run(
            [
                "gcc",
                "-shared",
                "-fPIC",
                *(f"-D{name}={value}" for name, value in chosen.items()),
                "-o",
                str(tmp_path / "libcuda.so.1"),
                str(tmp_path / "driver.c"),
            ],
            check=True,
        )
        monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
        # This process has its own search path.
        monkeypatch.setattr(driver_module.ctypes, "CDLL", lambda name: None)

    return build


def test_probe_describes_every_gpu_and_tries_what_it_is_told(stand_in):
    stand_in(COUNT=3, FULL=0b011)

    def problems(tried):
        run = subprocess.run(
            [sys.executable, probe.__file__, tried], capture_output=True, text=True, check=True
        )
        found = json.loads(run.stdout)
        assert found["version"] == 12080 and found["problem"] == ""
        assert [(gpu["name"], gpu["capability"], gpu["memory"]) for gpu in found["gpus"]] == [
            (name, [8, 6], 1 << 30) for name in "ABC"
        ]
        texts = [gpu["problem"] for gpu in found["gpus"]]
        return [" ".join(re.findall(r"\bcu\w+_v2\b|\bCUDA_\w+", text)) or text for text in texts]

    full = "cuMemAlloc_v2 CUDA_ERROR_TEST"
    assert problems("first") == [full, full, ""] == problems("every")
    assert problems("1") == ["", full, ""] == problems("4")  # the fifth process on this machine
    assert problems("2") == ["", "", ""]


def test_a_gpu_that_is_full_leaves_the_others_usable(stand_in):
    """One GPU of eight whose memory was full used to disable CUDA entirely."""
    stand_in(COUNT=2, FULL=0b10)
    # Of which the first is good: nobody asks the second, and no context is opened there.
    found = query_driver()
    assert not found.problem and not found.refused and len(found.gpus) == 2
    stand_in(COUNT=2, FULL=0b01)
    found = query_driver("first")
    assert not found.problem and [(gpu.name, gpu.number) for gpu in found.gpus] == [("B", 1)]
    (refused,) = found.refused
    assert re.search(r"GPU 0 \(A\).*\bcuMemAlloc_v2\b", refused.refusal)
    stand_in(COUNT=2, FULL=0b11)
    assert re.search(r"GPU 0 \(A\).*\bcuMemAlloc_v2\b", query_driver().problem)
    stand_in(COUNT=2, FULL=0b10)
    assert [bool(query_driver(rank).problem) for rank in ("0", "1", "2", "3")] == [False, True, False, True]


@pytest.mark.parametrize(
    "values, problem",
    [
        (dict(COUNT=0), "CUDA_VISIBLE_DEVICES"),
        (dict(INIT=100), r"\bcuInit\b.*\bCUDA_ERROR_TEST\b"),
        (dict(VERSION=34), r"libcuda\.so\.1\b.*\bLD_LIBRARY_PATH\b"),
        (dict(INIT="(abort(), 0)"), "crash"),
    ],
    ids=["no device", "dead", "stub", "crash"],
)
def test_a_driver_that_is_there_and_useless_counts_as_installed(stand_in, values, problem):
    """It used to be treated as a missing driver, and the CPU was used without a warning."""
    stand_in(**values)
    found = query_driver()
    assert re.search(problem, found.problem) and found.installed and not found.gpus


def test_errors_that_are_known_say_what_helps(monkeypatch):
    answer = {"version": 13000, "gpus": [], "problem": "cuInit fails with CUDA_ERROR_SYSTEM_NOT_READY"}
    monkeypatch.setattr(driver_module, "_answer", lambda tried: json.dumps(answer))
    monkeypatch.setattr(driver_module.ctypes, "CDLL", lambda name: None)
    assert re.search("CUDA_ERROR_SYSTEM_NOT_READY.*nvidia-fabricmanager", query_driver().problem)


def test_a_driver_that_hangs_is_waited_for_with_a_line_and_not_for_ever(stand_in, monkeypatch, capfd):
    stand_in(INIT="sleep(100)")
    monkeypatch.setattr(driver_module, "_PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(driver_module, "_PROBE_SECONDS", 1.0)
    start = time.monotonic()
    found = query_driver()
    assert time.monotonic() - start < 10.0
    assert re.search(r"\b1 s", found.problem) and found.installed
    assert re.search(r"\b1 s.*\bJSEG_DEVICE=cpu\b", capfd.readouterr().err)


def test_no_driver_is_nothing_unusual(monkeypatch):
    def absent(name):
        raise OSError(f"{name}: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(driver_module.ctypes, "CDLL", absent)
    found = query_driver()
    assert not found.installed and "libcuda.so.1" in found.problem
