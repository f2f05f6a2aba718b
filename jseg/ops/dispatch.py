"""Chooses between the fused kernels and the plain Jittor references."""

import os
from functools import cache
from pathlib import Path

from jseg.runtime.backend import jt
from jseg.runtime.environment import jittor_cache, unwritable_cache
from jseg.runtime.shared_cache import header_copy

_FOLDER = Path(__file__).resolve().parent


def use_fused(*inputs: jt.Var) -> bool:
    """Returns whether the CPU kernels apply: float32 inputs on the CPU, and `JSEG_FUSED` is not 0."""
    return kernels_allowed() and not jt.flags.use_cuda and all(x.dtype == "float32" for x in inputs)


def kernels_allowed() -> bool:
    """Returns False if the user turned the fused kernels off, on any device."""
    return os.environ.get("JSEG_FUSED", "1") != "0"


@cache  # finding the folder takes as long as a small operator
def include_headers(*names: str) -> str:
    """Returns `#include` lines for kernel files named relative to this folder.

    Jittor hashes the content of files that are included by an absolute, quoted path, so the next process
    recompiles a kernel that was edited. The path itself is part of the hash. It therefore points to a copy
    below Jittor's cache that is named after its content, and every clone finds what another one has compiled.
    Jittor cannot follow a relative `#include` from one header to another. A header that needs another one
    names it in its first lines, and the front lists both, in order.
    """
    try:
        copies = [header_copy(_FOLDER / name, jittor_cache() / "jseg" / "headers") for name in names]
    except OSError as error:
        raise unwritable_cache(error) from error
    return "".join(f'#include "{copy}"\n' for copy in copies)
