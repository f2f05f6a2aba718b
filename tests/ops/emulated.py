"""Builds the CUDA kernels for the emulator and calls them on NumPy arrays."""

import ctypes
import hashlib
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np

EMULATOR = Path(__file__).resolve().parent / "cuda_emulator"
KERNELS = Path(__file__).resolve().parents[2] / "jseg" / "ops"
FORMATS = ("Half", "Bfloat", "Tf32", "Float")
"""Names of the number formats in emulated_kernels.cpp: two of 16 bits, float32 with TF32, and exact
float32."""

IN_STEP, DEPTH_FIRST, REVERSED, RANDOM = range(4)


def round_to(x: np.ndarray, name: str) -> np.ndarray:
    """Rounds to the nearest number of a 16-bit format, as float32, and changes nothing for 32-bit formats."""
    x = np.asarray(x, np.float32)
    if name == "Half":
        return x.astype(np.float16).astype(np.float32)
    if name == "Bfloat":
        bits = x.view(np.uint32)
        return ((bits + 0x7FFF + (bits >> 16 & 1)) & np.uint32(0xFFFF0000)).view(np.float32)
    return x


def _stored(x: np.ndarray, name: str) -> np.ndarray:
    """Converts values to the storage type of a format."""
    x = np.ascontiguousarray(round_to(x, name))
    if name == "Half":
        return x.astype(np.float16)
    return (x.view(np.uint32) >> 16).astype(np.uint16) if name == "Bfloat" else x


def _loaded(x: np.ndarray, name: str) -> np.ndarray:
    return (x.astype(np.uint32) << 16).view(np.float32) if name == "Bfloat" else x.astype(np.float32)


def built_once(stem: str, suffix: str, content: bytes, build: Callable[[Path], None]) -> Path:
    """Returns a file in the user's cache that `build(path)` writes once for each content.

    Files that were not used for a week are deleted.
    """
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "jseg" / "emulator"
    target = folder / f"{stem}_{hashlib.sha256(content).hexdigest()[:20]}{suffix}"
    if not target.exists():
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("*_*.*"):
            if time.time() - old.stat().st_mtime > 7 * 24 * 3600:
                old.unlink(missing_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            made = Path(scratch) / target.name
            build(made)
            made.replace(target)
    os.utime(target)
    return target


def kernel_sources() -> bytes:
    """Returns the content of the emulator and of all kernels."""
    return b"".join(
        path.read_bytes() for path in sorted(EMULATOR.glob("*.*")) + sorted(KERNELS.glob("**/*.cuh"))
    )


@cache
def library(name: str, width: int) -> ctypes.CDLL:
    """Builds and loads the kernels of one format and head width."""
    flags = ["-std=c++17", "-O2", "-shared", "-fPIC", f"-DFORMAT={name}", f"-DWIDTH={width}"]
    command = ["g++", *flags, f"-I{EMULATOR}", f"-I{KERNELS}", str(EMULATOR / "emulated_kernels.cpp"), "-o"]
    content = kernel_sources() + " ".join(flags).encode()
    target = built_once(
        f"{name}_{width}", ".so", content, lambda path: subprocess.run([*command, str(path)], check=True)
    )
    loaded = ctypes.CDLL(str(target))
    loaded.skipped_waits.restype = ctypes.c_long
    return loaded


class Kernels:
    """The kernels of one format and head width under one schedule of the emulated threads.

    Args:
        skipped: "file.cuh:line" of a barrier or wait that is left out.
    """

    def __init__(
        self,
        name: str,
        width: int,
        order: int = IN_STEP,
        seed: int = 0,
        early_copies: bool = False,
        skipped: str = "",
    ) -> None:
        self.name, self.library = name, library(name, width)
        self.library.set_schedule(order, seed, int(early_copies), skipped.encode())

    def _call(self, function: str, *arguments) -> None:
        entry = getattr(self.library, function)
        entry.restype = ctypes.c_char_p
        message = entry(
            *(a.ctypes.data_as(ctypes.c_void_p) if isinstance(a, np.ndarray) else a for a in arguments)
        )
        if message:
            raise RuntimeError(message.decode())

    def _empty(self, shape: Sequence[int]) -> np.ndarray:
        """Returns an array full of NaN, which shows every value that a kernel does not write."""
        return _stored(np.full(shape, np.nan, np.float32), self.name)

    def attention(
        self,
        q: np.ndarray,
        k: np.ndarray,
        v: np.ndarray,
        d_output: np.ndarray | None,
        heads: int,
        causal: bool = False,
        dropout: float = 0.0,
        seed: int = 0,
        first_sample: int = 0,
    ) -> tuple[np.ndarray, ...]:
        """Returns output, log-sum-exp, dq, dk and dv, the gradients only if `d_output` is given."""
        batch, queries, width = q.shape
        sizes = np.array([batch, heads, queries, k.shape[1], width // heads, causal, first_sample], np.int32)
        inputs = [_stored(x, self.name) for x in (q, k, v)]
        d = None if d_output is None else _stored(d_output, self.name)
        statistics = [np.full((batch, heads, queries), np.nan, np.float32) for _ in range(2)]
        results = [self._empty(x.shape) for x in (q, q, k, v)]
        self._call(
            "attention",
            sizes,
            ctypes.c_double(dropout),
            ctypes.c_uint(seed),
            *inputs,
            d,
            results[0],
            *statistics,
            *results[1:],
        )
        output, *gradients = (_loaded(x, self.name) for x in results)
        return (output, statistics[0], *(gradients if d is not None else ()))

    def region_attention(
        self, qkv: np.ndarray, d_output: np.ndarray, heads: int, layout: Sequence[int]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns output, log-sum-exp and the gradient of qkv."""
        batch, tokens, packed = qkv.shape
        sizes = np.array([batch, heads, packed // 3 // heads], np.int32)
        statistics = [np.full((batch, heads, tokens), np.nan, np.float32) for _ in range(2)]
        output, gradient = self._empty((batch, tokens, packed // 3)), self._empty(qkv.shape)
        self._call(
            "region_attention",
            sizes,
            np.array(layout, np.int32),
            _stored(qkv, self.name),
            _stored(d_output, self.name),
            output,
            *statistics,
            gradient,
        )
        return _loaded(output, self.name), statistics[0], _loaded(gradient, self.name)

    def dropout(self, x: np.ndarray, rate: float, seed: int, first_row: int) -> np.ndarray:
        """Returns the rows of x with elements dropped."""
        output = self._empty(x.shape)
        self._call(
            "dropout",
            np.array(x.shape, np.int32),
            ctypes.c_double(rate),
            ctypes.c_uint(seed),
            first_row,
            _stored(x, self.name),
            output,
        )
        return _loaded(output, self.name)

    def layer_norm(
        self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray, eps: float, d_output: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        """Returns output, dx, dweight and dbias."""
        inputs = [_stored(array, self.name) for array in (x, weight, bias, d_output)]
        results = [self._empty(array.shape) for array in (x, x, weight, bias)]
        statistics = np.full((x.shape[0], 2), np.nan, np.float32)
        self._call(
            "layer_norm",
            np.array(x.shape, np.int32),
            ctypes.c_float(eps),
            *inputs,
            results[0],
            statistics,
            *results[1:],
        )
        return tuple(_loaded(array, self.name) for array in results)
