"""Stubs of the CUDA driver and libraries that say yes to everything, and count.

Device memory is host memory and no kernel runs. Each stub of a library counts the calls of each of its
functions, and that of the runtime keeps the kind and the size of each copy; `cuda_calls.py` reads both.
"""

import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from jseg.runtime.cuda.toolkit import Place, find_libraries, find_toolkits, places, standard_place

_MARKS = ("cuda_runtime.h", "cublas_v2.h", "curand.h", "crt", "cccl", "cub")
_STUBBED = ("cudart", "cublas", "cublasLt", "curand")

_CREATED = "(void** p) { static int object; *p = &object; return 0; }"
_ALLOCATED = "(void** p, size_t n) { *p = aligned_alloc(256, (n + 511) / 256 * 256);"
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
    "cudaMemcpy": "int cudaMemcpy(void* d, const void* s, size_t n, int k) {"
    " note_copy(d, s, n, k); memmove(d, s, n); return 0; }",
    "cudaMemcpyAsync": "int cudaMemcpyAsync(void* d, const void* s, size_t n, int k, void* q) {"
    " note_copy(d, s, n, k); memmove(d, s, n); return 0; }",
    "cudaMemset": "int cudaMemset(void* d, int c, size_t n) { memset(d, c, n); return 0; }",
    "cudaMemsetAsync": "int cudaMemsetAsync(void* d, int c, size_t n, void* q) { memset(d, c, n); return "
    "0; }",
    "cudaMemcpy2DAsync": "int cudaMemcpy2DAsync(char* d, size_t to, const char* s, size_t from, size_t n, "
    "size_t rows, int k,"
    " void* q) { note_copy(d, s, n * rows, k);"
    " while (rows--) memcpy(d + rows * to, s + rows * from, n); return 0; }",
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
    **{name: f"int {name}{_ALLOCATED} return *p ? 0 : 2; }}" for name in ("cudaMallocHost", "cudaHostAlloc")},
    **{
        name: f"int {name}{_ALLOCATED} note_block(*p, n); return *p ? 0 : 2; }}"
        for name in ("cudaMalloc", "cudaMallocManaged", "cudaMallocAsync")
    },
    **{
        name: f"int {name}(void* p) {{ forget_block(p); free(p); return 0; }}"
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
# Counts, before the functions of a library. Those of two libraries in one process have the same names, so
# only what `cuda_calls.py` asks for by the handle of a library is exported. A copy of kind cudaMemcpyDefault
# (4) gets the kind that the places of both ends say.
_COUNTS = """
#define CALLED(i) __sync_fetch_and_add(&calls[i], 1)
static unsigned long calls[FUNCTIONS];
enum { HOST_TO_HOST, TO_DEVICE, TO_HOST, ON_DEVICE, DEFAULT, BLOCKS = 1 << 16, COPIES = 1 << 20 };
static struct { const char* at; size_t size; } blocks[BLOCKS];
static struct { int kind; size_t size; } copies[COPIES];
static unsigned long copied;

unsigned long stub_functions() { return FUNCTIONS; }
const char* stub_name(int i) { return names[i]; }
unsigned long stub_calls(int i) { return calls[i]; }
unsigned long stub_copies() { return copied < COPIES ? copied : COPIES; }
int stub_copy_kind(unsigned long i) { return copies[i].kind; }
size_t stub_copy_size(unsigned long i) { return copies[i].size; }
void stub_reset() { memset(calls, 0, sizeof calls); copied = 0; }

static void note_block(const void* at, size_t size) {
    for (int i = 0; i < BLOCKS; i++)
        if (!blocks[i].at) { blocks[i].at = at; blocks[i].size = size; return; }
}
static void forget_block(const void* at) {
    for (int i = 0; i < BLOCKS; i++) if (blocks[i].at == at) blocks[i].at = 0;
}
static int on_device(const char* at) {
    for (int i = 0; i < BLOCKS; i++)
        if (blocks[i].at && blocks[i].at <= at && at < blocks[i].at + blocks[i].size) return 1;
    return 0;
}
static void note_copy(const void* to, const void* from, size_t size, int kind) {
    if (kind == DEFAULT && on_device(to)) kind = on_device(from) ? ON_DEVICE : TO_DEVICE;
    if (kind == DEFAULT) kind = on_device(from) ? TO_HOST : HOST_TO_HOST;
    unsigned long i = __sync_fetch_and_add(&copied, 1);
    if (i < COPIES) { copies[i].kind = kind; copies[i].size = size; }
}
"""
DRIVER = """
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
    lines += counted_functions(list(symbols))
    versions = sorted({version for version in symbols.values() if version})
    header = subprocess.check_output(["objdump", "-p", str(library)], text=True)
    soname = re.search(r"SONAME\s+(\S+)", header)[1]  # libcudart.so.11.0, but libcublas.so.11
    build(lines, home / "lib64" / soname, home / "include", architecture, versions[:1])
    (home / "lib64" / f"{soname.partition('.so')[0]}.so").symlink_to(soname)


def counted_functions(names: Sequence[str]) -> list[str]:
    """C lines that define the functions, each of which counts its calls."""
    bodies = [_BODIES.get(name, f"int {name}() {{ return 0; }}") for name in names]
    return [
        f"#define FUNCTIONS {len(names)}",
        "static const char* names[] = {" + ", ".join(f'"{name}"' for name in names) + "};",
        _COUNTS,
        *(body.replace("{", f"{{ CALLED({index});", 1) for index, body in enumerate(bodies)),
    ]


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
