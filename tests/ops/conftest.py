"""Fixture that chooses the path of the operators, and the import path of the helpers beside the tests.

The tests also run on a GPU with `JSEG_DEVICE=cuda pytest tests/ops`, and there with JSEG_PRECISION=tf32 or
bfloat16 (`number_formats.py`).
"""

import os
import sys
from pathlib import Path

import pytest

from jseg.runtime.device import wanted_precision

sys.path.insert(0, str(Path(__file__).resolve().parent))

# A GPU adds nothing to the tests of the CUDA emulator, of the compilation of the kernels, of the CPU kernels,
# or of checks that are made before any kernel runs.
_CPU_ONLY = [
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
collect_ignore = _CPU_ONLY if os.environ.get("JSEG_DEVICE") == "cuda" else []


@pytest.fixture(params=["1", "0"], ids=["fused", "plain"])
def either_path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs a test with the fused kernels and with the plain references; returns the value of JSEG_FUSED."""
    if request.param == "0" and os.environ.get("JSEG_DEVICE") == "cuda" and wanted_precision() == "bfloat16":
        pytest.skip("plain operators are compared with float64 in float32 and TF32")
    monkeypatch.setenv("JSEG_FUSED", request.param)
    return request.param
