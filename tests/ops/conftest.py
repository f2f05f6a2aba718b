"""Which path the operators take, and the float64 references that lie beside the tests.

The tests run on a GPU too: `JSEG_DEVICE=cuda pytest tests/ops`, also with
JSEG_PRECISION=tf32 or bfloat16 (`number_formats.py`).
"""

import os
import sys
from pathlib import Path

import pytest

from jseg.runtime.device import wanted_precision

sys.path.insert(0, str(Path(__file__).resolve().parent))

# A GPU has nothing to say about the emulator of the CUDA kernels, their compilation, the processor's kernels,
# or checks that come before any kernel.
_ON_PROCESSORS_ALONE = [
    "test_attention_extremes.py",
    "test_builds_and_memory.py",
    "test_cuda_attention.py",
    "test_cuda_compile.py",
    "test_cuda_dropout.py",
    "test_cuda_emulator.py",
    "test_cuda_fronts.py",
    "test_cuda_layer_norm.py",
    "test_instruction_sets.py",
    "test_region_layout.py",
    "test_wrong_inputs.py",
]
collect_ignore = _ON_PROCESSORS_ALONE if os.environ.get("JSEG_DEVICE") == "cuda" else []


@pytest.fixture(params=["1", "0"], ids=["fused", "plain"])
def either_path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs a test with the fused kernels and with the plain Jittor references; the value of JSEG_FUSED."""
    if request.param == "0" and os.environ.get("JSEG_DEVICE") == "cuda" and wanted_precision() == "bfloat16":
        pytest.skip("plain operators are compared with float64 in float32 and TF32")
    monkeypatch.setenv("JSEG_FUSED", request.param)
    return request.param
