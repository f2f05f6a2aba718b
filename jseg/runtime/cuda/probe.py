"""Asks the CUDA driver what it has, in a process of its own: `python probe.py` prints one JSON object.

A process of its own because a driver once initialised does not survive `fork`, and a broken one may hang or crash.
"""

import ctypes
import json
from typing import Any, Callable, Dict, List

_COMPUTE_CAPABILITY = (75, 76)  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR


def query(driver: Any) -> Dict[str, Any]:
    """What the driver library reports.

    Returns:
        `version` (13000 is CUDA 13.0), `gpus` with `name`, `capability` (major, minor) and `memory` in bytes, and
        `problem`: empty if every GPU gave out a little memory, else which call failed and why.
    """
    found: Dict[str, Any] = {"version": 0, "gpus": [], "problem": ""}

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
        for number in range(count.value):
            found["gpus"].append(_describe(call, number))
            _use(call, number)
    except (RuntimeError, AttributeError) as error:
        found["problem"] = str(error)
    return found


def _describe(call: Callable[..., None], number: int) -> Dict[str, Any]:
    device, name, memory = ctypes.c_int(0), ctypes.create_string_buffer(256), ctypes.c_size_t(0)
    call("cuDeviceGet", ctypes.byref(device), number)
    call("cuDeviceGetName", name, len(name), device)
    call("cuDeviceTotalMem_v2", ctypes.byref(memory), device)
    capability: List[int] = []
    for attribute in _COMPUTE_CAPABILITY:
        value = ctypes.c_int(0)
        call("cuDeviceGetAttribute", ctypes.byref(value), attribute, device)
        capability.append(value.value)
    return {"name": name.value.decode(errors="replace"), "capability": capability, "memory": memory.value}


def _use(call: Callable[..., None], number: int) -> None:
    """Takes a little memory: a GPU may be listed and yet refuse all work."""
    context, memory = ctypes.c_void_p(), ctypes.c_uint64(0)
    call("cuDevicePrimaryCtxRetain", ctypes.byref(context), number)
    call("cuCtxSetCurrent", context)
    call("cuMemAlloc_v2", ctypes.byref(memory), ctypes.c_size_t(1 << 20))
    call("cuMemFree_v2", memory)
    call("cuDevicePrimaryCtxRelease_v2", number)


def _error_name(driver: Any, status: int) -> str:
    text = ctypes.c_char_p()
    if hasattr(driver, "cuGetErrorName") and driver.cuGetErrorName(status, ctypes.byref(text)) == 0 and text.value:
        return text.value.decode()
    return f"error {status}"


if __name__ == "__main__":
    # The driver's own name: the stub that comes with the toolkit has only the plain libcuda.so.
    print(json.dumps(query(ctypes.CDLL("libcuda.so.1"))))
