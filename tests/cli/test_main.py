"""The console command `jseg`: its list of commands, which are also the scripts in tools/."""

import io
import json
import subprocess
import sys
import tokenize
from pathlib import Path

import pytest

import jseg
from jseg.cli import REPOSITORY, run_net
from jseg.cli.main import COMMANDS, main

TOOLS = sorted((REPOSITORY / "tools").glob("*.py"))

# The help of every command, in one process: name -> [status, first line, whether Jittor was loaded].
_HELP = """
import contextlib, io, json, sys
from jseg.cli.main import COMMANDS, main
shown = {}
for name in COMMANDS:
    status, text = None, io.StringIO()
    with contextlib.redirect_stdout(text):
        try:
            status = main([name, "--help"])
        except SystemExit as stop:
            status = stop.code
    loaded = any(module in sys.modules for module in ("jittor", "jittor_utils", "jseg.runtime.backend"))
    shown[name] = [status or 0, text.getvalue().split("\\n")[0], loaded]
print(json.dumps(shown))
"""


def program(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Output of a Python program started in the clone."""
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]])
def test_all_commands_are_listed(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    first_words = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert first_words == list(COMMANDS)


def test_python_m_jseg_is_the_same_and_loads_one_command_alone() -> None:
    listed = program("-X", "importtime", "-m", "jseg")
    assert listed.returncode == 0 and "gpu-check" in listed.stdout
    assert "numpy" not in listed.stderr and "jseg.cli.run_net" not in listed.stderr


def test_the_doctor_starts_without_any_package() -> None:
    """-S hides site-packages, -E the user's variables."""
    done = program("-S", "-E", "-m", "jseg", "doctor", "--no-self-test")
    assert done.returncode == 1 and done.stderr == ""


@pytest.mark.parametrize(
    "name, nearest", [("trian", "train"), ("gpu_check", "gpu-check"), ("--seed", "train")]
)
def test_an_unknown_command_is_refused(name: str, nearest: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([name]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.startswith("error: ") and said.err.count("\n") == 1
    assert repr(name) in said.err and nearest in said.err


def test_every_command_shows_its_help_without_jittor() -> None:
    done = program("-c", _HELP)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert list(shown) == list(COMMANDS)
    for name, (status, line, loaded) in shown.items():
        assert status == 0 and not loaded and line.startswith(f"usage: jseg {name} "), name


def test_commands_and_doors_belong_together() -> None:
    assert {command.module for command in COMMANDS.values()} == {path.stem for path in TOOLS}


@pytest.mark.parametrize("path", TOOLS, ids=lambda path: path.stem)
def test_a_door_holds_no_code_of_its_own(path: Path) -> None:
    source = path.read_text()
    assert f"quiet_interrupt()\n\nfrom jseg.cli.{path.stem} import main\n" in source
    beside = (tokenize.COMMENT, tokenize.NL, tokenize.ENCODING, tokenize.ENDMARKER)
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    assert len({token.start[0] for token in tokens if token.type not in beside}) <= 15


@pytest.mark.parametrize("task", ["train", "val", "test"])
def test_a_command_settles_the_task(task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert COMMANDS[task].task == task
    called = []
    monkeypatch.setattr(run_net, "main", lambda argv, task: called.append((argv, task)) or 7)
    monkeypatch.setattr(sys, "argv", ["jseg"])
    assert main([task, "--config", "x.py"]) == 7 and called == [(["--config", "x.py"], task)]


def test_a_settled_task_cannot_be_changed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_net.parse_args(["--config", "x.py"], "val").task == "val"
    with pytest.raises(SystemExit, match="2"):
        run_net.parse_args(["--config", "x.py", "--task", "train"], "val")
    assert "--task" in capsys.readouterr().err.splitlines()[-1]


def test_the_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"jseg {jseg.__version__}\n"
