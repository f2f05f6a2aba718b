"""Properties of this machine: CPU, cores and memory, with the limits of containers."""

import hashlib
import os
import platform
from collections.abc import Iterator
from functools import cache
from pathlib import Path


def cpu_name(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Returns the CPU's model name, or its architecture if the kernel does not report it."""
    try:
        for line in cpuinfo.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


# Beginnings of the names that /proc/cpuinfo gives to instruction sets which compilers use, on x86 and ARM.
# Most other names are those of features for the kernel. A newer kernel may list more of both.
_INSTRUCTION_SETS = (
    *("3dnow", "abm", "adx", "aes", "amx", "apx", "avx", "bmi", "cmpccxadd", "cx16", "f16c", "fma", "gfni"),
    *("lwp", "movbe", "movdir", "pclmul", "pni", "popcnt", "rdrand", "rdseed", "sha", "sm3", "sm4", "sse"),
    *("ssse", "tbm", "vaes", "vpcl", "xop"),
    *("asimd", "atomics", "bf16", "fcma", "i8mm", "jscvt", "lrcpc", "sve"),
)


@cache
def instruction_sets(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Returns a short digest of the instruction sets that a compiler may use for the first CPU; "" if the
    kernel does not report them. CPUs of one model name may differ in them, virtual ones above all."""
    try:
        for line in cpuinfo.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() in ("flags", "Features"):
                names = sorted(name for name in value.split() if name.startswith(_INSTRUCTION_SETS))
                return hashlib.sha256(" ".join(names).encode()).hexdigest()[:8]
    except OSError:
        pass
    return ""


def usable_cores() -> int:
    """Returns the number of cores this process may use, which taskset or a container's cpuset may limit."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory(proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup")) -> tuple[int, int] | None:
    """Returns (available, total) memory of this process in bytes, or None if the kernel does not report it.

    Args:
        proc: folder with `meminfo` and `self/cgroup`.
        cgroups: mount point of control groups, version 1 or 2.
    """
    try:
        lines = (proc / "meminfo").read_text().splitlines()
        kilobytes = {line.split(":")[0]: int(line.split()[1]) for line in lines if ":" in line}
        available, total = kilobytes["MemAvailable"] * 1024, kilobytes["MemTotal"] * 1024
    except (OSError, ValueError, KeyError, IndexError):
        return None
    for group in _memory_groups(proc, cgroups):
        limit = _first_number(group / "memory.max", group / "memory.limit_in_bytes")
        if limit is None or limit >= total:
            continue
        used = _first_number(group / "memory.current", group / "memory.usage_in_bytes") or 0
        total = limit
        available = min(available, max(0, limit - used + _reclaimable(group)))
    return available, total


def _memory_groups(proc: Path, cgroups: Path) -> Iterator[Path]:
    """Yields the control group of this process and its parents. Any of them may have the lowest limit."""
    try:
        lines = (proc / "self" / "cgroup").read_text().splitlines()
    except OSError:
        lines = []
    for line in [*lines, "0::/", "0:memory:/"]:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "memory" not in controllers.split(","):
            continue
        root = cgroups / "memory" if controllers else cgroups
        group = root / path.lstrip("/")
        while True:
            yield group
            if group == root or root not in group.parents:
                break
            group = group.parent


def _first_number(*files: Path) -> int | None:
    """Returns the number in the first file that contains one. "max" (no limit) does not count."""
    for file in files:
        try:
            return int(file.read_text())
        except (OSError, ValueError):
            continue
    return None


def _reclaimable(group: Path) -> int:
    """Returns the bytes of cached files, which the kernel frees when memory is needed."""
    try:
        pairs = (line.split() for line in (group / "memory.stat").read_text().splitlines())
        return next((int(pair[1]) for pair in pairs if pair[0] == "inactive_file"), 0)
    except (OSError, ValueError, IndexError):
        return 0
