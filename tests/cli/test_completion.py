"""`jseg completion`: scripts that a shell accepts, with the commands, options and choices of today."""

import shutil
import subprocess

import pytest

from jseg.cli import completion
from jseg.cli.main import COMMANDS, main

shtab = pytest.importorskip("shtab")


def test_every_command_and_its_options_are_there():
    parser = completion.all_commands("file", "folder")
    (commands,) = [action for action in parser._actions if action.dest == "command"]
    assert list(commands.choices) == list(COMMANDS)
    options = {action.dest: action for action in commands.choices["segment"]._actions}
    assert options["checkpoint"].complete == "file" and options["output"].complete == "folder"
    assert "task" not in {action.dest for action in commands.choices["train"]._actions}


@pytest.mark.parametrize("words, wanted", [("jseg seg", "segment"), ("jseg segment --clas", "--class-list")])
def test_bash_completes(words, wanted, tmp_path):
    if shutil.which("bash") is None:
        pytest.skip("needs bash")
    (tmp_path / "script").write_text(completion.script("bash"))
    program = (
        f"source {tmp_path / 'script'}; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); "
        "_shtab_jseg; echo ${COMPREPLY[@]}"
    )
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True)
    assert wanted in done.stdout.split(), done.stderr


def test_the_command_prints_the_script_and_says_what_is_missing(capsys, monkeypatch):
    assert main(["completion", "zsh"]) == 0 and capsys.readouterr().out.startswith("#compdef jseg")
    monkeypatch.setitem(__import__("sys").modules, "shtab", None)
    assert main(["completion", "bash"]) == 2 and "pip install" in capsys.readouterr().err
