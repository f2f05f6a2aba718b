"""Reads what the stubs of `cuda_stubs.py` counted in this process."""

import ctypes
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

KINDS = ("host to host", "to the device", "to the host", "on the device")
"""Kinds of copies, in the order of CUDA's numbers for them."""

SYNCS = re.compile(
    r"cuda(DeviceSynchronize|StreamSynchronize|EventSynchronize|Memcpy(2D|3D)?|MemcpyToSymbol)$"
)
"""Functions for which the host waits for the GPU."""

_LAUNCHES = re.compile(r"(__)?cudaLaunch(Cooperative)?Kernel(ExC)?$")
_ALLOCATIONS = re.compile(r"cuda(Malloc|HostAlloc)")
_PRODUCTS = re.compile(r"cublas.*(gemm|gemv|matmul)", re.IGNORECASE)
_FILLS = re.compile(r"cudaMemset")
_RANDOM = re.compile(r"curandGenerate")


class Copy(NamedTuple):
    """kind: one of `KINDS`. size: bytes."""

    kind: str
    size: int


class Counts(NamedTuple):
    """What a piece of work asked of the GPU.

    Attributes:
        launches: kernels that are started. products: calls of cuBLAS that compute. random: of cuRAND.
        fills: cudaMemset. syncs: calls that wait for the GPU, copies that block among them. allocations: of
            memory, on the device or the host. copies: kind -> bytes of each copy.
    """

    launches: int
    products: int
    random: int
    fills: int
    syncs: int
    allocations: int
    copies: dict[str, list[int]]


class Calls:
    """The stubs that this process has loaded by now.

    Raises:
        OSError: if there is none.
    """

    def __init__(self, libraries: Sequence[Path] | None = None) -> None:
        self._stubs = [stub for stub in map(_stub, libraries or _loaded()) if stub is not None]
        if not self._stubs:
            raise OSError("no stub of a CUDA library is loaded")

    def reset(self) -> None:
        for stub in self._stubs:
            stub.stub_reset()

    def functions(self) -> Counter[str]:
        """Calls of each function that was called since `reset`."""
        found: Counter[str] = Counter()
        for stub in self._stubs:
            for index in range(stub.stub_functions()):
                calls = stub.stub_calls(index)
                if calls:
                    found[stub.stub_name(index).decode()] += calls
        return found

    def copies(self) -> list[Copy]:
        """Copies since `reset`, in order."""
        return [
            Copy(KINDS[stub.stub_copy_kind(index)], stub.stub_copy_size(index))
            for stub in self._stubs
            for index in range(stub.stub_copies())
        ]

    def counts(self) -> Counts:
        """What was asked since `reset`."""
        return counts_of(self.functions(), self.copies())


def counts_of(functions: Counter[str], copies: Sequence[Copy]) -> Counts:
    """Sorts calls of functions by what they ask for."""

    def matching(pattern: re.Pattern[str]) -> int:
        return sum(calls for name, calls in functions.items() if pattern.match(name))

    return Counts(
        *(matching(pattern) for pattern in (_LAUNCHES, _PRODUCTS, _RANDOM, _FILLS, SYNCS, _ALLOCATIONS)),
        copies={kind: [copy.size for copy in copies if copy.kind == kind] for kind in KINDS},
    )


def _loaded() -> list[Path]:
    """Files of CUDA's libraries in this process."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    files = {line.split(maxsplit=5)[5] for line in lines if len(line.split(maxsplit=5)) == 6}
    return sorted(Path(file) for file in files if Path(file).name.startswith("libcu"))


def _stub(library: Path) -> ctypes.CDLL | None:
    stub = ctypes.CDLL(str(library))
    if not hasattr(stub, "stub_functions"):
        return None
    stub.stub_name.restype = ctypes.c_char_p
    for name in ("stub_functions", "stub_calls", "stub_copies", "stub_copy_size"):
        getattr(stub, name).restype = ctypes.c_ulong
    stub.stub_copy_kind.argtypes = stub.stub_copy_size.argtypes = [ctypes.c_ulong]
    return stub
