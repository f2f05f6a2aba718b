"""The compiled operators of Jittor that this process uses."""

from pathlib import Path

from jseg.runtime.backend import jt

MAPS = Path("/proc/self/maps")
"""Linux's list of loaded files."""


def loaded() -> set[str]:
    """Returns the compiled operators that this process has loaded.

    The cache is not listed, since other processes may add to it at the same time.
    """
    folder = str(jt.flags.cache_path)
    return {line.split(maxsplit=5)[5] for line in MAPS.read_text().splitlines() if folder in line}
