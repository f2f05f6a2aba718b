"""Runs the Bash and Python blocks of the pages: each page in a folder of its own, its blocks in order.

`tests/pages/rules.py` says which commands run as they are written, which on stand-ins, and which do not run.
"""

import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from sybil import Example, Sybil
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser

ROOT = Path(__file__).resolve().parent
os.environ.setdefault("JSEG_DEVICE", "cpu")
sys.path.insert(0, str(ROOT / "tests"))

from pages.commands import PAGES, parse

ELSEWHERE = ("docs/extending.md",)  # tests/runner/test_extending.py runs it in processes of its own

_FILE = re.compile(r"# (\S+\.py)\b.*\n")
_run_python = PythonEvaluator()


@pytest.fixture(scope="session")
def page_store(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The files that stand in for weights and data on the pages."""
    from pages.folder import Store

    return Store(tmp_path_factory.mktemp("pages"))


def _page(example: Example) -> Any:
    """The page of a block, entered at its first block."""
    if "_page" not in example.namespace:
        from pages.page import Page

        name = Path(example.path).relative_to(ROOT).as_posix()
        example.namespace["_page"] = Page(name, example.namespace["page_store"])
    return example.namespace["_page"]


def _bash(example: Example) -> None:
    page = _page(example)
    for command in parse(example.parsed):
        page.run(command)


def _python(example: Example) -> None:
    """Runs a block, or writes it to the file that its first line names."""
    page, file = _page(example), _FILE.match(example.parsed)
    if file is None:
        _run_python(example)
    else:
        path = page.folder / file[1]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(example.parsed, encoding="utf-8")


def _leave(namespace: dict[str, Any]) -> None:
    if "_page" in namespace:
        namespace["_page"].leave()


_collect = Sybil(
    parsers=[CodeBlockParser("bash", _bash), CodeBlockParser("python", _python)],
    patterns=["*.md"],
    teardown=_leave,
    fixtures=["page_store"],
).pytest()


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> Any:
    """Collects the blocks of the pages."""
    name = file_path.relative_to(ROOT).as_posix() if file_path.is_relative_to(ROOT) else ""
    return _collect(file_path, parent) if name in PAGES and name not in ELSEWHERE else None


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Prints how many commands of the pages ran, and how many were only parsed."""
    if "pages.page" in sys.modules:
        from pages.page import summary

        terminalreporter.section("commands of the documentation")
        terminalreporter.write_line(summary())
