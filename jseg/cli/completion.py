"""Print the script with which a shell completes `jseg`: commands, options, choices and files.

    jseg completion bash > ~/.local/share/bash-completion/completions/jseg
    jseg completion zsh > ~/.zfunc/_jseg       # with fpath=(~/.zfunc $fpath) before compinit in ~/.zshrc
    jseg completion fish > ~/.config/fish/completions/jseg.fish

Needs shtab (`pip install 'jseg[completion]'`).
"""

import argparse
from typing import Any

from jseg.runtime.command import exit_status

SHELLS = ("bash", "zsh", "fish", "tcsh")
_FILES = ("CONFIG", "FILE", "GT", "IMAGE", "IN", "OUT", "PATH", "PRED")
_FILE_OPTIONS = ("config", "case_dir", "out")
_FOLDERS = ("DIR", "FOLDER")


def make_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shell", choices=SHELLS, help="shell that will read the script")
    return parser


def main(argv: list[str] | None = None) -> int:
    """0 on success, 2 after an error of the user."""
    args = make_parser().parse_args(argv)
    return exit_status(lambda: print(script(args.shell)))


def script(shell: str) -> str:
    """The script for a shell.

    Raises:
        ValueError: shtab is missing.
    """
    try:
        import shtab
    except ImportError:
        raise ValueError("shtab is missing; install it with `pip install shtab`") from None
    return str(shtab.complete(all_commands(shtab.FILE, shtab.DIRECTORY), shell))


def all_commands(file: Any, folder: Any) -> argparse.ArgumentParser:
    """One parser with all commands of `jseg`.

    Args:
        file, folder: what marks options that take a file or a folder, as their attribute `complete`.
    """
    from jseg.cli.main import COMMANDS, load

    parser = argparse.ArgumentParser(prog="jseg", description="Zero-shot semantic segmentation with CLIP-RC.")
    commands = parser.add_subparsers(dest="command")
    for name, command in COMMANDS.items():
        make = load(command).make_parser
        own = make() if command.task is None else make(command.task)
        for action in own._actions:
            if action.metavar in _FILES or (action.metavar is None and action.dest in _FILE_OPTIONS):
                action.complete = file
            elif action.metavar in _FOLDERS or action.dest == "work_dir":
                action.complete = folder
        commands.add_parser(name, parents=[own], add_help=False, help=command.summary)
    return parser
