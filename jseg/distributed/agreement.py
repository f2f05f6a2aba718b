"""Checks that all processes start from the same configuration, data and weights."""

import hashlib
import itertools
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jseg.distributed import mpi
from jseg.distributed.collectives import broadcast_object, gather_objects
from jseg.runtime.backend import device
from jseg.runtime.versions import installed_version

_PACKAGE = Path(__file__).resolve().parents[1]
_SOURCES = {".py", ".h", ".cc", ".cu", ".cuh", ".json"}
_PACKAGES = ("numpy", "pillow", "jittor", "mpi4py")


def check_same(things: Mapping[str, Any], advice: str, what: str = "comparing all ranks") -> None:
    """Compares strings, arrays, or lists of strings between all processes by their SHA-256.

    Args:
        things: name for the message -> str, numpy array, or sequence of str. Every process passes the same
            names.
        advice: how to fix a difference; the end of the message.

    Raises:
        ValueError: on every process if something differs. The message names the first difference, the ranks
            and hosts that have it, and the first line or string that differs.
    """
    if mpi.world_size() == 1:
        return
    own = {name: _digest(thing) for name, thing in things.items()}
    everybody = gather_objects((socket.gethostname(), own), what)
    reference = everybody[0][1]
    others: dict[str, list] = {}
    for number, (host, digests) in enumerate(everybody):
        for name in reference:
            if digests.get(name) != reference[name]:
                others.setdefault(name, []).append(f"rank {number} on {host}")
    if others:
        name, ranks = next(iter(others.items()))
        more = f" (and {len(others) - 1} more)" if len(others) > 1 else ""
        raise ValueError(
            f"{', '.join(ranks)} differ{'s' if len(ranks) == 1 else ''} from rank 0 on {everybody[0][0]} "
            f"in {name}{_first_difference(things[name], what)}{more}; {advice}"
        )


def check_device() -> None:
    """Checks that all processes compute on CPUs, or all on GPUs.

    In a mixed job, results would differ and fast processes would wait for slow ones.

    Raises:
        ValueError: on every process if devices differ. The message names the ranks, and this process's
            device.
    """
    check_same(
        {"device type": device.kind},
        f"this process runs on: {device.line}; fix that machine, or give all processes the same --device",
        "comparing devices",
    )


def check_versions() -> None:
    """Checks that all processes run the same jseg, and the same packages that read images and draw random
    numbers.

    Raises:
        ValueError: on every process if they differ. The message names ranks, package and versions.
    """
    if mpi.world_size() == 1:
        return
    things: dict[str, Any] = {
        f"the version of {name}": installed_version(name) or "none" for name in _PACKAGES
    }
    things["the source code of jseg"] = [
        f"{path.relative_to(_PACKAGE).as_posix()}: SHA-256 {_digest(path.read_text('utf-8')).hex()[:16]}"
        for path in sorted(_PACKAGE.rglob("*"))
        if path.suffix in _SOURCES
    ]
    check_same(things, "install the same packages on every machine", "comparing versions")


def _first_difference(thing: Any, what: str) -> str:
    """Describes the first line of a text, or string of a list, that differs on another rank."""
    if isinstance(thing, np.ndarray):
        return ""
    own = thing.splitlines() if isinstance(thing, str) else list(thing)
    pairs = itertools.zip_longest(own, broadcast_object(own, 0, what), fillvalue="nothing")
    differences = gather_objects(next((pair for pair in pairs if pair[0] != pair[1]), None), what)
    other, reference = next(filter(None, differences), ("", ""))
    return f" ({other} in place of {reference})"


def _digest(thing: Any) -> bytes:
    digest = hashlib.sha256()
    for part in _parts(thing):
        digest.update(part)
    return digest.digest()


def _parts(thing: Any) -> Iterable[Any]:
    if isinstance(thing, np.ndarray):
        yield f"{thing.dtype} {thing.shape} ".encode()
        yield np.ascontiguousarray(thing).reshape(-1).view(np.uint8)
    elif isinstance(thing, str):
        yield thing.encode("utf-8")
    else:
        for text in thing:
            yield text.encode("utf-8") + b"\0"
