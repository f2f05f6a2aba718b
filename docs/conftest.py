"""Runs the Python blocks of the pages, in a folder of their own that has what a user has: nothing but jseg."""

import os
from pathlib import Path

from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

os.environ.setdefault("JSEG_DEVICE", "cpu")


def _enter(namespace: dict) -> None:
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="jseg-docs-"))
    namespace["_left"] = Path.cwd()
    os.chdir(folder)


def _leave(namespace: dict) -> None:
    os.chdir(namespace["_left"])


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser()], patterns=["python.md"], setup=_enter, teardown=_leave
).pytest()
