"""Runs the Python blocks of the pages in an empty folder that holds the sample images and nothing else."""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

os.environ.setdefault("JSEG_DEVICE", "cpu")


def _enter(namespace: dict[str, Any]) -> None:
    folder = Path(tempfile.mkdtemp(prefix="jseg-docs-"))
    shutil.copytree(Path(__file__).resolve().parents[1] / "samples", folder / "samples")
    namespace["_left"] = Path.cwd()
    os.chdir(folder)


def _leave(namespace: dict[str, Any]) -> None:
    os.chdir(namespace["_left"])


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser()],
    patterns=["python.md", "tour.md", "training.md"],
    setup=_enter,
    teardown=_leave,
).pytest()
