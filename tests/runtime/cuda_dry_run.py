"""Jittor on CUDA without a GPU: does it build, import, compile
and dispatch? Minutes of compiling; run by hand.

    python tests/runtime/cuda_dry_run.py FOLDER [--libraries SITE_PACKAGES] [--architecture 120]

nvcc and g++ are the real ones. The driver and the libraries are stubs that say yes to everything: device
memory is host memory and no kernel runs, so results are not looked at. FOLDER keeps the stubs and a home
folder with Jittor's cache, so that a second run is quick. The first nvcc that is found is used, with the
headers and names of functions of its libraries; those that a toolkit lacks are taken from the wheels in
SITE_PACKAGES (nvidia-cublas, nvidia-curand). The GPU is an sm_90, or what --architecture says: Jittor asks
for code of sm_90 at most, jseg for that of the GPU. Ends with "dry run passed", or the error.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from jseg.runtime.cuda.toolkit import Place, find_libraries, find_toolkits, places, standard_place

_MARKS = ("cuda_runtime.h", "cublas_v2.h", "curand.h", "crt", "cccl", "cub")
_STUBBED = ("cudart", "cublas", "cublasLt", "curand")

_PROGRAM = """
import sys
from jseg.runtime.backend import device, jt
assert device.kind == "cuda" and jt.has_cuda and jt.flags.use_cuda == 1, device
print("imported:", device.line, "architectures", jt.flags.cuda_archs, flush=True)
a = jt.array([[1.0, 2.0], [3.0, 4.0]])
for name, value in {"elementwise": a * 2 + 1, "matrix product": a @ a,
                    "bfloat16": a.bfloat16() @ a.bfloat16(),
                    "sum": a.sum(1), "argsort": jt.argsort(a, -1)[1], "random": jt.rand(4),
                    "gradient": jt.grad((a @ a).sum(), [a])[0]}.items():
    value.sync()
    print("dispatched:", name, flush=True)
from jseg.models.checkpointing import checkpointed
from jseg.ops import RegionLayout, attention, dropout, insert_rows, layer_norm, region_attention
layout = RegionLayout((4, 4), (2, 2), 3, skipped=2)
for dtype in ("float32", "bfloat16"):
    x, packed = (jt.ones((1, layout.tokens, width), dtype) for width in (64, 192))
    one = jt.ones((64,), dtype)
    for output, inputs in ((layer_norm(x, one, one), [x, one]), (attention(x, x, x, 1), [x]),
                           (region_attention(packed, 1, layout), [packed]), (dropout(x, 0.1), [x]),
                           (checkpointed(lambda x: layer_norm(x, one, one), x), [x])):
        for value in (output, *jt.grad(output.sum(), inputs)):
            value.sync()
    print("dispatched: operators of jseg in", dtype, flush=True)
import numpy as np
from jseg.ops import GridCopy, class_map, focal_dice
maps, label = jt.ones((2, 3, 4, 4)), jt.zeros((2, 60, 70), "int32")
focal = focal_dice(maps, label).focal
best = class_map([GridCopy(maps.unsqueeze(1), (64, 64), (64, 64), [(0, 0)])], (60, 70))
for value in (focal, *jt.grad(focal.sum(), [maps]), *best):
    value.sync()
print("dispatched: operators on maps", flush=True)
x, rows = (jt.array(np.arange(n, dtype=np.float32).reshape(2, -1, 4)) for n in (40, 16))
changed = insert_rows(x, rows, 1)
gradient, = jt.grad(changed.sum(), [x])
gradient.sync()
# These are copies, which do run.
assert (changed.numpy()[:, 1:3] == rows.numpy()).all(), changed
assert (changed.numpy()[:, 3:] == x.numpy()[:, 1:]).all(), changed
assert (gradient.numpy() == 1).all(), gradient
print("copied: insert_rows, drop_rows", flush=True)
print("dry run passed", flush=True)
"""
_CREATED = "(void** p) { static int object; *p = &object; return 0; }"
_ALLOCATE = "(void** p, size_t n) { *p = aligned_alloc(256, (n + 511) / 256 * 256); return *p ? 0 : 2; }"
# Functions that must answer something; all others return 0. CUDA
# 12 asks for the properties by the second name.
_BODIES: dict[str, str] = {
    "cudaGetDeviceCount": "int cudaGetDeviceCount(int* n) { *n = 1; return 0; }",
    "cudaGetDevice": "int cudaGetDevice(int* n) { *n = 0; return 0; }",
    "cudaRuntimeGetVersion": "int cudaRuntimeGetVersion(int* n) { *n = 13000; return 0; }",
    "cudaDriverGetVersion": "int cudaDriverGetVersion(int* n) { *n = 13000; return 0; }",
    **{
        name: f"int {name}(struct cudaDeviceProp* p, int d) {{"
        " memset(p, 0, sizeof *p); p->major = MAJOR; p->minor = MINOR; p->multiProcessorCount = 132; "
        "return 0; }"
        for name in ("cudaGetDeviceProperties", "cudaGetDeviceProperties_v2")
    },
    "cudaDeviceGetAttribute": "int cudaDeviceGetAttribute(int* v, int a, int d) {"
    " *v = a == 75 ? MAJOR : a == 76 ? MINOR : a == 16 ? 132 : a == 1 ? 1024 : a == 10 ? 32"
    " : 1;"
    " return 0; }",
    "cudaMemcpy": "int cudaMemcpy(void* d, const void* s, size_t n, int k) { memmove(d, s, n); return 0; }",
    "cudaMemcpyAsync": "int cudaMemcpyAsync(void* d, const void* s, size_t n, int k, void* q) {"
    " memmove(d, s, n); return 0; }",
    "cudaMemset": "int cudaMemset(void* d, int c, size_t n) { memset(d, c, n); return 0; }",
    "cudaMemsetAsync": "int cudaMemsetAsync(void* d, int c, size_t n, void* q) { memset(d, c, n); return "
    "0; }",
    "cudaMemcpy2DAsync": "int cudaMemcpy2DAsync(char* d, size_t to, const char* s, size_t from, size_t n, "
    "size_t rows, int k,"
    " void* q) { while (rows--) memcpy(d + rows * to, s + rows * from, n); return 0; }",
    "cudaMemset2DAsync": "int cudaMemset2DAsync(char* d, size_t to, int c, size_t n, size_t rows, void* q) {"
    " while (rows--) memset(d + rows * to, c, n); return 0; }",
    "cudaMemGetInfo": "int cudaMemGetInfo(size_t* a, size_t* b) { *a = *b = 8ull << 30; return 0; }",
    "cudaGetErrorName": 'const char* cudaGetErrorName(int e) { return "stub"; }',
    "cudaGetErrorString": 'const char* cudaGetErrorString(int e) { return "stub"; }',
    "cudaLaunchHostFunc": "int cudaLaunchHostFunc(void* s, void (*f)(void*), void* u) { f(u); return 0; }",
    "cudaStreamAddCallback": "int cudaStreamAddCallback(void* s, void (*f)(void*, int, void*), void* u, "
    "unsigned g) {"
    " f(s, 0, u); return 0; }",
    "cudaEventElapsedTime": "int cudaEventElapsedTime(float* t, void* a, void* b) { *t = 1; return 0; }",
    "__cudaRegisterFatBinary": "void** __cudaRegisterFatBinary(void* p) { static void* handle; return "
    "&handle; }",
    **{
        name: f"int {name}{_ALLOCATE}"
        for name in ("cudaMalloc", "cudaMallocHost", "cudaMallocManaged", "cudaHostAlloc", "cudaMallocAsync")
    },
    **{
        name: f"int {name}(void* p) {{ free(p); return 0; }}"
        for name in ("cudaFree", "cudaFreeHost", "cudaFreeAsync")
    },
    **{
        name: f"int {name}{_CREATED}"
        for name in (
            "cudaStreamCreate",
            "cudaStreamCreateWithFlags",
            "cudaStreamCreateWithPriority",
            "cudaEventCreate",
            "cudaEventCreateWithFlags",
            "cublasCreate_v2",
            "cublasLtCreate",
            "curandCreateGenerator",
        )
    },
}
_DRIVER = """
int cuInit(unsigned f) { return 0; }
int cuDriverGetVersion(int* v) { *v = 13000; return 0; }
int cuDeviceGetCount(int* n) { *n = 1; return 0; }
int cuDeviceGet(int* d, int n) { *d = n; return 0; }
int cuDeviceGetName(char* s, int n, int d) { strcpy(s, "Stub"); return 0; }
int cuDeviceTotalMem_v2(size_t* n, int d) { *n = 8ull << 30; return 0; }
int cuDeviceGetAttribute(int* v, int a, int d) { *v = a == 75 ? MAJOR : MINOR; return 0; }
int cuDevicePrimaryCtxRetain(void** c, int d) { *c = c; return 0; }
int cuDevicePrimaryCtxRelease_v2(int d) { return 0; }
int cuCtxSetCurrent(void* c) { return 0; }
int cuMemAlloc_v2(unsigned long long* p, size_t n) { *p = 1; return 0; }
int cuMemFree_v2(unsigned long long p) { return 0; }
"""


def make_toolkit(folder: Path, wheels: list[Place], architecture: int) -> Path:
    """A CUDA home with the real nvcc and headers, and stubs for libraries; its folder."""
    toolkit = next(iter(find_toolkits()), None)
    if toolkit is None:
        raise SystemExit("no nvcc found: the dry run needs a real one")
    where = [*places(toolkit), *wheels]
    libraries = find_libraries(toolkit, where)
    missing = [name for name in _STUBBED if name not in libraries]
    if missing:
        raise SystemExit(
            f"{toolkit.nvcc} lacks {', '.join(missing)}: --libraries names wheels that have them"
        )
    home = folder / "cuda"
    shutil.rmtree(home, ignore_errors=True)
    for name in ("bin", "include", "lib64"):
        (home / name).mkdir(parents=True)
    front = home / "bin" / "nvcc"
    front.write_text(f'#!/bin/sh\nexec "{toolkit.nvcc}" "$@"\n')
    front.chmod(0o755)
    for include in dict.fromkeys(place.include for place in where):
        # Compilers look into the standard folder themselves; an environment's own may hold anything.
        if include != standard_place().include and any((include / mark).exists() for mark in _MARKS):
            for entry in include.iterdir():
                if not (home / "include" / entry.name).exists():
                    (home / "include" / entry.name).symlink_to(entry)
    archive = next(
        place.lib / "libcudadevrt.a" for place in where if (place.lib / "libcudadevrt.a").is_file()
    )
    (home / "lib64" / archive.name).symlink_to(archive)
    for name in _STUBBED:
        make_stub(libraries[name].path, home, architecture)
    return home


def make_stub(library: Path, home: Path, architecture: int) -> None:
    """A library of the same name and version with the same functions, most of which return 0."""
    symbols: dict[str, str] = {}
    for line in subprocess.check_output(["nm", "-D", "--defined-only", str(library)], text=True).splitlines():
        kind, symbol = line.split()[1:3]
        if kind in "TWi" and re.match(r"(__)?cu", symbol):
            name, _, version = symbol.replace("@@", "@").partition("@")
            symbols.setdefault(name, version)
    lines: list[str] = ["#include <stdlib.h>", "#include <string.h>"]
    if "cudaGetDeviceProperties" in symbols:
        lines.append("#include <driver_types.h>")
    lines += [_BODIES.get(name, f"int {name}() {{ return 0; }}") for name in symbols]
    versions = sorted({version for version in symbols.values() if version})
    header = subprocess.check_output(["objdump", "-p", str(library)], text=True)
    soname = re.search(r"SONAME\s+(\S+)", header)[1]  # libcudart.so.11.0, but libcublas.so.11
    build(lines, home / "lib64" / soname, home / "include", architecture, versions[:1])
    (home / "lib64" / f"{soname.partition('.so')[0]}.so").symlink_to(soname)


def build(
    lines: list[str], target: Path, include: Path, architecture: int, versions: Sequence[str] = ()
) -> None:
    """Compiles C lines to a shared library that carries its file name as its soname."""
    source = target.with_suffix(".c")
    source.write_text("\n".join(lines) + "\n")
    major, minor = divmod(architecture, 10)
    command = [
        "gcc",
        "-w",
        "-std=gnu11",
        "-fno-builtin",
        "-shared",
        "-fPIC",
        f"-DMAJOR={major}",
        f"-DMINOR={minor}",
        f"-I{include}",
        str(source),
        "-o",
        str(target),
        f"-Wl,-soname,{target.name}",
    ]
    if versions:
        script = target.with_suffix(".map")
        script.write_text(f"{versions[0]} {{ global: *; }};\n")
        command.append(f"-Wl,--version-script={script}")
    subprocess.run(command, check=True)


def main() -> int:
    """Returns 0 if everything succeeded."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="keeps stubs and the home folder with Jittor's cache")
    parser.add_argument("--libraries", type=Path, help="site-packages with wheels of what the toolkit lacks")
    parser.add_argument(
        "--architecture", type=int, default=90, metavar="NUMBER", help="of the GPU (default: 90)"
    )
    arguments = parser.parse_args()
    folder = arguments.folder.resolve()
    wheels = sorted(arguments.libraries.resolve().glob("nvidia/*")) if arguments.libraries else []
    home = make_toolkit(
        folder,
        [Place("wheels", wheel / "include", wheel / "lib") for wheel in wheels],
        arguments.architecture,
    )
    driver = folder / "driver"
    driver.mkdir(exist_ok=True)
    build(["#include <string.h>", _DRIVER], driver / "libcuda.so.1", home / "include", arguments.architecture)
    (folder / "home").mkdir(exist_ok=True)
    environment = {
        **os.environ,
        "HOME": str(folder / "home"),
        "CUDA_HOME": str(home),
        "JSEG_DEVICE": "cuda",
        "LD_LIBRARY_PATH": str(driver),
        "PYTHONPATH": str(ROOT),
    }
    run = subprocess.run([sys.executable, "-c", _PROGRAM], env=environment, stdout=subprocess.PIPE, text=True)
    print(run.stdout, end="")
    return 0 if "dry run passed" in run.stdout else 1


if __name__ == "__main__":
    sys.exit(main())
