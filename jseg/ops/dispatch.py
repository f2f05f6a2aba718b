"""Decides between the fused C++ kernels and the plain Jittor references."""

import os
from pathlib import Path

from jseg.runtime.backend import jt


def use_fused_cpu() -> bool:
    """True when the C++ kernels apply: Jittor computes on the CPU and the user did not turn them off."""
    return not jt.flags.use_cuda and os.environ.get("JSEG_FUSED_OPS", "1") != "0"


def include_header(python_file: str, name: str) -> str:
    """`#include` line for a kernel that lies beside `python_file`.

    The path is absolute and quoted because Jittor hashes the content of files included this way: an
    edited kernel is compiled anew by the next process.
    """
    return f'#include "{Path(python_file).resolve().with_name(name)}"\n'
