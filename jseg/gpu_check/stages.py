"""The stages of `tools/gpu_check.py` that compute, each in its own process.

JSEG_DEVICE and JSEG_PRECISION choose device and precision before Jittor is imported.

    python -m jseg.gpu_check.stages import|kernels|ops|golden|nccl [--small]

The last line of the output is `RESULT {json}`.
"""

import argparse
import json
import os
import sys
import time
from typing import Any

import numpy as np

from jseg.gpu_check.golden import golden_stage
from jseg.gpu_check.kernels import kernels_stage
from jseg.gpu_check.operators import op_stage
from jseg.gpu_check.settings import MARK


def import_stage(small: bool) -> dict[str, Any]:
    """Imports Jittor, which compiles its core on a fresh machine."""
    start = time.perf_counter()
    from jseg.runtime.backend import device, jt

    jt.ones((2, 2)).sync()
    return {"device": device.line, "kind": device.kind, "seconds": time.perf_counter() - start}


def nccl_stage(small: bool) -> dict[str, Any]:
    """Sums with NCCL in the one process that `mpirun -n 1` starts.

    Returns:
        "nccl", False where Jittor was built without NCCL, and "failed", the list of failures.
    """
    from jseg.runtime.backend import jt

    if jt.compile_extern.nccl_ops is None:
        return {"nccl": False, "failed": []}
    numbers = np.random.default_rng(0).standard_normal(1 << 20).astype(np.float32)
    found = jt.compile_extern.nccl_ops.nccl_all_reduce(jt.array(numbers)).numpy()
    same = np.array_equal(found, numbers)  # a sum over one process must be its input
    return {"nccl": True, "failed": [] if same else ["a sum over one process changed the values"]}


STAGES = {
    "import": import_stage,
    "kernels": kernels_stage,
    "ops": op_stage,
    "golden": golden_stage,
    "nccl": nccl_stage,
}


def main() -> int:
    """Prints the result of one stage."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--small", action="store_true", help="small sizes, for a CPU")
    arguments = parser.parse_args()
    start = time.perf_counter()
    result = STAGES[arguments.stage](arguments.small)
    print(MARK + json.dumps({**result, "stage_seconds": time.perf_counter() - start}), flush=True)
    # Jittor may crash while it is unloaded, although everything went well.
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
