"""Finds and removes damaged and unfinished files in Jittor's cache, and explains them in a sentence.

A power failure or a full disk can leave a compiled library empty or truncated. Then every start of Jittor
ends with an error of the dynamic linker or a bus error, or hangs.
"""

import json
import re
import shutil
import struct
import tempfile
from collections.abc import Iterable
from pathlib import Path

from jseg.runtime.versions import JITTOR_VERSION

_FULL = 4 << 20  # bytes; the compiler needs more than this for one operator
_CORE = [f"{'*/' * depth}jit*_core.*.so" for depth in (6, 7)]  # .../CPU/flags/name/, custom_ops/ below it
_FAILED = re.compile(
    r"Run cmd failed|Cannot open library|Compile fused operator|file too short|dlopen failed"
)


def is_damaged(library: Path) -> bool:
    """Whether a 64-bit ELF file is empty, truncated or not an ELF file.

    A linker writes the table of sections last (System V ABI, Figure 4-3: e_shoff,
    e_shentsize, e_shnum), so a file that ends before its end is incomplete.
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
    """Removes and returns the damaged ones among `libraries`, so that Jittor builds them again.

    Raises:
        OSError: if one cannot be removed.
    """
    damaged = []
    for library in libraries:
        try:
            found = is_damaged(library)
        except FileNotFoundError:  # another process has already removed it
            continue
        if found:
            library.unlink(missing_ok=True)
            damaged.append(library)
    return damaged


def core_libraries(cache: Path) -> list[Path]:
    """Returns the few libraries in Jittor's cache that an import loads."""
    return [path for pattern in _CORE for path in (cache / f"jt{JITTOR_VERSION}").glob(pattern)]


def all_libraries(cache: Path) -> list[Path]:
    """Returns all libraries that Jittor has compiled into its cache, which may be thousands."""
    return sorted((cache / f"jt{JITTOR_VERSION}").rglob("*.so"))


def drop_unreadable_settings(home: Path) -> Path | None:
    """Removes and returns Jittor's settings file in the home folder if it is not JSON, since Jittor does not
    start with it."""
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
    """Returns a sentence for a Jittor error which means that an operator could not be compiled or loaded.

    Damaged libraries are also removed.

    Args:
        text: message of Jittor's RuntimeError.
        cache: Jittor's cache folder.

    Returns:
        None if the error means something else.
    """
    if not _FAILED.search(text):
        return None
    damaged = remove_damaged(all_libraries(cache))
    if damaged:
        more = f" and {len(damaged) - 1} more" if len(damaged) > 1 else ""
        return (
            f"Jittor's cache contained a damaged library, {damaged[0]}{more}, which has been removed; "
            "start the program again"
        )
    for folder in (Path(tempfile.gettempdir()), cache):
        if shutil.disk_usage(folder).free < _FULL:
            return f"an operator could not be compiled: the disk of {folder} is full; free some space"
    return (
        "an operator could not be compiled: see the compiler's message above; `jseg doctor` looks for the "
        "cause"
    )
