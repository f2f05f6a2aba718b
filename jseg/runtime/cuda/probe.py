"""Queries the CUDA driver in a process of its own: `python probe.py TRIED` prints one JSON object.

A separate process is needed because an initialised driver does not survive `fork`, and a broken one may hang
or crash. TRIED selects the GPUs on which a little memory is allocated as a test: `first` tries them in order
up to the first success, `every` tries all of them, and a number tries the GPU of the `mpirun` process with
this local rank.
"""

import ctypes
import json
import sys
from collections.abc import Callable, Iterable
from typing import Any

_COMPUTE_CAPABILITY = (75, 76)  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR
_NAMELESS = {34: "CUDA_ERROR_STUB_LIBRARY"}  # cuGetErrorName does not work in a stub


def query(driver: Any, tried: str) -> dict[str, Any]:
    """Returns the report of the driver library.

    Returns:
        `version` (13000 is CUDA 13.0), `gpus` with `name`, `capability` (major, minor), `memory` in bytes and
        `problem` (the call that failed and why, or ""), and `problem` of the driver itself.
    """
    found: dict[str, Any] = {"version": 0, "gpus": [], "problem": ""}

    def call(name: str, *arguments: Any) -> None:
        status = getattr(driver, name)(*arguments)
        if status != 0:
            raise RuntimeError(f"{name} fails with {_error_name(driver, status)}")

    try:
        version = ctypes.c_int(0)
        call("cuDriverGetVersion", ctypes.byref(version))
        found["version"] = version.value
        call("cuInit", 0)
        count = ctypes.c_int(0)
        call("cuDeviceGetCount", ctypes.byref(count))
        found["gpus"] = [_describe(call, number) for number in range(count.value)]
        for number in _to_try(tried, count.value):
            try:
                _use(call, number)
            except RuntimeError as error:
                found["gpus"][number]["problem"] = str(error)
            else:
                if tried == "first":
                    break
    except (RuntimeError, AttributeError) as error:
        found["problem"] = str(error)
    return found


def _to_try(tried: str, count: int) -> Iterable[int]:
    return range(count) if tried in ("first", "every") or not count else [int(tried) % count]


def _describe(call: Callable[..., None], number: int) -> dict[str, Any]:
    device, name, memory = ctypes.c_int(0), ctypes.create_string_buffer(256), ctypes.c_size_t(0)
    call("cuDeviceGet", ctypes.byref(device), number)
    call("cuDeviceGetName", name, len(name), device)
    call("cuDeviceTotalMem_v2", ctypes.byref(memory), device)
    capability: list[int] = []
    for attribute in _COMPUTE_CAPABILITY:
        value = ctypes.c_int(0)
        call("cuDeviceGetAttribute", ctypes.byref(value), attribute, device)
        capability.append(value.value)
    return {
        "name": name.value.decode(errors="replace"),
        "capability": capability,
        "memory": memory.value,
        "problem": "",
    }


def _use(call: Callable[..., None], number: int) -> None:
    """Allocates a little memory, since a GPU may be listed and still refuse all work."""
    context, memory = ctypes.c_void_p(), ctypes.c_uint64(0)
    call("cuDevicePrimaryCtxRetain", ctypes.byref(context), number)
    call("cuCtxSetCurrent", context)
    call("cuMemAlloc_v2", ctypes.byref(memory), ctypes.c_size_t(1 << 20))
    call("cuMemFree_v2", memory)
    call("cuDevicePrimaryCtxRelease_v2", number)


def _error_name(driver: Any, status: int) -> str:
    text = ctypes.c_char_p()
    if (
        hasattr(driver, "cuGetErrorName")
        and driver.cuGetErrorName(status, ctypes.byref(text)) == 0
        and text.value
    ):
        return text.value.decode()
    return _NAMELESS.get(status, f"error {status}")


if __name__ == "__main__":
    # The driver's versioned name: the stub in a toolkit has only the plain libcuda.so.
    print(json.dumps(query(ctypes.CDLL("libcuda.so.1"), sys.argv[1])))
