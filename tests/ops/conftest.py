"""Which path the operators take, and the float64 references that lie beside the tests."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))


@pytest.fixture(params=["1", "0"], ids=["fused", "plain"])
def either_path(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs a test with the C++ kernels and with the plain Jittor references; the value of JSEG_FUSED."""
    monkeypatch.setenv("JSEG_FUSED", request.param)
    return request.param
