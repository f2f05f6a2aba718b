"""Plug-ins. The files of `docs/extending.md` are written into an empty folder, and its commands run there."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from jseg.config import import_plugins

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"```python\n# (\S+\.py)\n(.*?)```", PAGE, re.DOTALL))
(COMMANDS,) = (block.split("\n")[:-1] for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL))


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The folder of the example."""
    folder = tmp_path_factory.mktemp("extending")
    (folder / "jseg").symlink_to(ROOT)
    for name, text in FILES.items():
        path = folder / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / "project" / "my_package" / "__init__.py").touch()
    return folder / "project"


def run(project, command, **environment):
    words = shlex.split(command)
    words[:1] = [sys.executable, "-m", "jseg"] if words[0] == "jseg" else [sys.executable]
    return subprocess.run(
        words,
        cwd=project,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "JSEG_CACHE": str(project / "cache"), **environment},
    )


def test_the_page_shows_four_parts_a_check_and_a_config():
    assert {Path(name).stem for name in FILES} == {
        "cosine_head",
        "cross_entropy",
        "csv_dataset",
        "squared_relu",
        "check_squared_relu",
        "my_config",
        "make_tables",
    }
    assert len(COMMANDS) == 7


@pytest.mark.slow
def test_the_commands_of_the_page_train_and_evaluate(project):
    for command in COMMANDS:
        done = run(project, command)
        assert done.returncode == 0, f"{command}\n{done.stdout[-800:]}\n{done.stderr[-2000:]}"
    work = project / "work_dirs" / "my_config"
    record = json.loads((work / "log.jsonl").read_text().splitlines()[-1])
    assert record["iter"] == 20 and {"loss_ce", "acc_seg", "total"} <= set(record)
    assert "my_package.cosine_head" in (work / "config.py").read_text()
    assert json.loads((work / "metrics.json").read_text())["checkpoint"].endswith("iter_20.safetensors")
    assert {path.stem for path in (work / "predictions").glob("*.png")} >= {"test_00000", "test_00001"}


@pytest.mark.parametrize(
    "name, parts",
    [
        ("my_package.missing", ["my_package.missing"]),
        ("no_such_package.part", ["no_such_package", "PYTHONPATH"]),
        ("../my_package", ["'../my_package'"]),
        ("my_package.broken", ["broken.py, line 2", "ZeroDivisionError"]),
        ("my_package.typo", ["typo.py, line 1", "SyntaxError"]),
        ("my_package.needs", ["my_package.needs", "package_of_nobody"]),
        ("my_package.half", ["half.py, line 4", "execute"]),
    ],
)
def test_a_plug_in_that_cannot_be_imported_is_named(tmp_path, monkeypatch, name, parts):
    package = tmp_path / "my_package"
    package.mkdir()
    for file, text in {
        "__init__": "",
        "broken": "zero = 0\none = 1 / zero\n",
        "typo": "one = (\n",
        "needs": "import package_of_nobody\n",
        "half": (
            "from jseg.models.heads import HEADS, Head\n\n\n@HEADS.register()\nclass Half(Head):\n    pass\n"
        ),
    }.items():
        (package / f"{file}.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for module in [module for module in sys.modules if module.split(".")[0] == "my_package"]:
        monkeypatch.delitem(sys.modules, module)
    with pytest.raises(ValueError) as error:
        import_plugins([name])
    for part in ("imports", *parts):
        assert part in str(error.value), error.value
