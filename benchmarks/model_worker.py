"""What the workers of `model.py` share: data, the loop of orders, time and memory; needs only NumPy."""

import ctypes
import gc
import json
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from model_sizes import MARK, Sizes


class Job(NamedTuple):
    """What `model.py` asks of a worker, and the data, which is the same for all."""

    kind: str
    sizes: Sizes
    folder: Path
    image: np.ndarray  # float32 (B, 3, H, W)
    label: np.ndarray  # int32 (B, H, W), seen classes
    text: np.ndarray  # float32 (C, d), of length 1


def read_job() -> Job:
    """The job on the command line: kind, sizes in JSON, folder."""
    kind, sizes, folder = sys.argv[1], Sizes(*json.loads(sys.argv[2])), Path(sys.argv[3])
    rng = np.random.default_rng(0)
    text = rng.standard_normal((sizes.classes, sizes.joint)).astype(np.float32)
    image = rng.standard_normal((sizes.batch, 3, sizes.size, sizes.size)).astype(np.float32)
    blocks = rng.integers(0, sizes.seen, (sizes.batch, 8, 8)).astype(np.int32)
    label = blocks.repeat(sizes.size // 8, 1).repeat(sizes.size // 8, 2)
    return Job(kind, sizes, folder, image, label, text / np.linalg.norm(text, axis=1, keepdims=True))


def serve(
    job: Job,
    work: Callable[[], None],
    parity: Callable[[], dict[str, np.ndarray]],
    held: int,
    breakdown: Callable[[], list[tuple[str, float]]] | None = None,
) -> None:
    """Answers orders until the input ends, 'parity' first. `work` does one step and waits for it. `held`: of
    `settled` with weights and data, before there is an optimizer."""
    for order in sys.stdin:
        if order.strip() == "parity":
            path = job.folder / f"outputs-{time.time_ns()}.npz"
            np.savez(path, **parity())
            answer: dict = {"file": str(path)}
            Path("/proc/self/clear_refs").write_text("5")  # forgets the peak so far
        elif order.strip() == "breakdown" and breakdown is not None:
            answer = {"rows": breakdown()}
        else:
            start, used = time.perf_counter(), _cpu_seconds()
            work()
            answer = {
                "seconds": time.perf_counter() - start,
                "cpu_seconds": _cpu_seconds() - used,
                "peak_bytes": resident("VmHWM") - held,
            }
        print(MARK + json.dumps(answer), flush=True)


def _cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def settled() -> int:
    """Bytes of this process in memory, without what malloc has kept of freed memory."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return resident()


def resident(field: str = "VmRSS") -> int:
    """Bytes of this process in memory, now or at most so far ("VmHWM")."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(next(row.split()[1] for row in status.splitlines() if row.startswith(field)))
