"""The console command `jseg NAME ...`, which `python -m jseg` starts too.

Only the module of the chosen command is imported: the list of commands shows at once, and `jseg doctor` runs
before anything is installed.
"""

import importlib
import sys
from typing import NamedTuple

from jseg.names import did_you_mean
from jseg.runtime.command import exit_status, quiet_interrupt, refuse


class Command(NamedTuple):
    """A command: its module below `jseg.cli`, a line for the list, and the task that its name settles."""

    module: str
    summary: str
    task: str | None = None


COMMANDS = {
    "train": Command("run_net", "train a model", "train"),
    "val": Command("run_net", "evaluate a model", "val"),
    "test": Command("run_net", "write the masks that a model predicts", "test"),
    "segment": Command("segment", "segment images with words of your own"),
    "classify": Command("classify", "ask a CLIP how likely words are for an image"),
    "convert-clip": Command("convert_clip", "convert a CLIP to jseg's own file"),
    "convert-checkpoint": Command("convert_checkpoint", "convert a CLIP-RC checkpoint between its formats"),
    "check-dataset": Command("check_dataset", "read all images and masks of a config's data"),
    "evaluate-masks": Command("evaluate_masks", "score predictions that were saved as masks"),
    "prepare": Command("prepare_dataset", "make a benchmark out of its official archives, or check one"),
    "configs": Command("list_configs", "show the table of experiments"),
    "zeroshapes": Command("make_zeroshapes", "draw the ZeroShapes benchmark"),
    "pretrain-clip": Command("pretrain_clip", "pretrain the tiny CLIP of ZeroShapes"),
    "doctor": Command("doctor", "report what jseg found on this machine, with a self-test"),
    "warmup": Command("warmup", "compile what a job will need, before it starts"),
    "parity": Command("parity", "compare jseg with recorded outputs of other implementations"),
    "gpu-check": Command("gpu_check", "check that an NVIDIA GPU computes what it should, and how fast"),
}


def main(argv: list[str] | None = None) -> int:
    """Runs the command that the first argument names; its exit status, or 2 if there is no such command."""
    quiet_interrupt()
    arguments = sys.argv[1:] if argv is None else argv
    if not arguments or arguments[0] in ("-h", "--help"):
        return exit_status(lambda: print(overview()))
    name, *rest = arguments
    if name not in COMMANDS:
        return refuse(f"jseg has no command {name!r}{did_you_mean(name, COMMANDS)}")
    command = COMMANDS[name]
    sys.argv[0] = f"jseg {name}"  # the name of the program in the help and in refusals of argparse
    run = importlib.import_module(f"jseg.cli.{command.module}").main
    return run(rest) if command.task is None else run(rest, command.task)


def overview() -> str:
    """The commands, a line each."""
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {command.summary}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "usage: jseg COMMAND ...",
            "",
            "Zero-shot semantic segmentation with CLIP-RC, in Jittor.",
            "",
            "commands:",
            *lines,
            "",
            "`jseg COMMAND --help` shows the options of a command.",
        ]
    )
