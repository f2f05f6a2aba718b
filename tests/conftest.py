"""What every test may ask for."""

import gzip
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Callable

import pytest

# Tolerances are those of a processor, also where there is a GPU; `JSEG_DEVICE=cuda pytest tests/ops` is for that.
os.environ.setdefault("JSEG_DEVICE", "cpu")

TESTS = Path(__file__).resolve().parent
sys.path.insert(0, str(TESTS))  # for the helpers beside this file

from loading import load_tool  # noqa: E402


@pytest.fixture(scope="session")
def tool() -> Callable[[str], ModuleType]:
    """tool("convert_clip") -> the module of tools/convert_clip.py."""
    return load_tool


@pytest.fixture(scope="session")
def openai_archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recorded tiny CLIP as a TorchScript archive like those of OpenAI, half precision inside. Do not change it."""
    path = tmp_path_factory.mktemp("clip") / "openai.pt"
    path.write_bytes(gzip.decompress((TESTS / "golden" / "clip_tiny" / "openai.pt.gz").read_bytes()))
    return path
