"""Decides between the fused kernels and the plain Jittor references."""

import os
from pathlib import Path

from jseg.runtime.backend import jt


def use_fused(*inputs: jt.Var) -> bool:
    """True when the fused CPU kernels serve `inputs`: float32 on the CPU, and `JSEG_FUSED` is not 0."""
    return kernels_allowed() and not jt.flags.use_cuda and all(x.dtype == "float32" for x in inputs)


def kernels_allowed() -> bool:
    """False when the user turned the fused kernels off, on whatever device."""
    return os.environ.get("JSEG_FUSED", "1") != "0"


def include_headers(*names: str) -> str:
    """`#include` lines for kernels, named relative to this folder.

    The paths are absolute and quoted because Jittor hashes the content of files included this way: an edited kernel
    is compiled anew by the next process. It cannot follow a relative `#include` from one header to another, so a header
    that needs another names it in its first lines, and the front lists both, in order.
    """
    folder = Path(__file__).resolve().parent
    return "".join(f'#include "{folder / name}"\n' for name in names)
