"""Damaged and unfinished files in Jittor's cache: found, removed, and explained in a sentence.

A power failure or a full disk can leave a compiled library empty or cut short. Jittor then ends with words of
the dynamic linker, with a bus error, or not at all, and so does every later start.
"""

import json
import re
import shutil
import struct
import tempfile
from collections.abc import Iterable
from pathlib import Path

from jseg.runtime.versions import JITTOR_VERSION

_FULL = 4 << 20  # bytes; the compiler needs more than that for one operator
_CORE = [f"{'*/' * depth}jit*_core.*.so" for depth in (6, 7)]  # .../CPU/flags/name/, custom_ops/ below it
_FAILED = re.compile(
    r"Run cmd failed|Cannot open library|Compile fused operator|file too short|dlopen failed"
)


def is_damaged(library: Path) -> bool:
    """True if an ELF file of 64 bits is empty, cut short or no ELF file.

    The table of sections is the last thing that a linker writes (System V ABI, Figure 4-3: e_shoff,
    e_shentsize, e_shnum), so a file that ends before it is not whole.
    """
    with library.open("rb") as file:
        head = file.read(64)
        size = file.seek(0, 2)
    if len(head) < 64 or head[:4] != b"\x7fELF":
        return True
    (sections,) = struct.unpack_from("<Q", head, 0x28)
    entry, count = struct.unpack_from("<HH", head, 0x3A)
    return size < sections + entry * count


def remove_damaged(libraries: Iterable[Path]) -> list[Path]:
    """Removes those of `libraries` that are damaged, so that Jittor builds them again; returns them.

    Raises:
        OSError: one cannot be removed.
    """
    damaged = []
    for library in libraries:
        try:
            found = is_damaged(library)
        except FileNotFoundError:  # another process was quicker
            continue
        if found:
            library.unlink(missing_ok=True)
            damaged.append(library)
    return damaged


def core_libraries(cache: Path) -> list[Path]:
    """The few libraries in Jittor's cache that an import loads."""
    return [path for pattern in _CORE for path in (cache / f"jt{JITTOR_VERSION}").glob(pattern)]


def all_libraries(cache: Path) -> list[Path]:
    """Every library that Jittor has compiled into its cache; some thousand after a training."""
    return sorted((cache / f"jt{JITTOR_VERSION}").rglob("*.so"))


def drop_unreadable_settings(home: Path) -> Path | None:
    """Removes Jittor's own settings below the home folder if they are not JSON, for Jittor does not start
    with them; returns the file."""
    path = home / ".cache" / "jittor" / "config.json"
    try:
        if isinstance(json.loads(path.read_bytes()), dict):
            return None
    except FileNotFoundError:
        return None
    except ValueError:
        pass
    path.unlink(missing_ok=True)
    return path


def compile_problem(text: str, cache: Path) -> str | None:
    """A sentence for an error of Jittor that means that an operator was not compiled or not loaded.

    Damaged libraries are removed on the way.

    Args:
        text: the message of Jittor's RuntimeError.
        cache: Jittor's cache.

    Returns:
        None if it means something else.
    """
    if not _FAILED.search(text):
        return None
    damaged = remove_damaged(all_libraries(cache))
    if damaged:
        more = f" and {len(damaged) - 1} more" if len(damaged) > 1 else ""
        return (
            f"Jittor's cache held a damaged library, {damaged[0]}{more}; it has been removed; start "
            "the program again"
        )
    for folder in (Path(tempfile.gettempdir()), cache):
        if shutil.disk_usage(folder).free < _FULL:
            return f"an operator could not be compiled: the disk of {folder} is full; free some space"
    return (
        "an operator could not be compiled: the compiler's message stands above; `jseg doctor` looks for the "
        "cause"
    )
