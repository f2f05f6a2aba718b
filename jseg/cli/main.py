"""The console command `jseg NAME ...`, also started by `python -m jseg`.

Only the module of the chosen command is imported, so that the list of commands appears at once and `jseg
doctor` runs before anything is installed.
"""

import importlib
import sys
from types import ModuleType
from typing import NamedTuple

from jseg import __version__
from jseg.names import did_you_mean
from jseg.runtime.command import exit_status, quiet_interrupt, refuse


class Command(NamedTuple):
    """A command: its module in `jseg.cli`, a line for the list, and the task implied by its name."""

    module: str
    summary: str
    task: str | None = None


COMMANDS = {
    "train": Command("run_net", "train a model", "train"),
    "val": Command("run_net", "evaluate a model", "val"),
    "test": Command("run_net", "write predicted masks", "test"),
    "segment": Command("segment", "segment images with your own words"),
    "web": Command("web_demo", "segment photos in the browser"),
    "classify": Command("classify", "classify an image with a CLIP and your own words"),
    "convert-clip": Command("convert_clip", "convert a CLIP to jseg's own format"),
    "convert-checkpoint": Command("convert_checkpoint", "convert a checkpoint between formats"),
    "annotations": Command(
        "annotations", "make a folder of masks from annotations (COCO, Labelme, CVAT, ...)"
    ),
    "check-dataset": Command("check_dataset", "check all images and masks of a config's dataset"),
    "evaluate-masks": Command("evaluate_masks", "score predicted masks saved to files"),
    "prepare": Command("prepare_dataset", "prepare a benchmark from its official archives, or check one"),
    "download": Command("download", "download a benchmark or OpenAI's CLIP weights"),
    "reproduce": Command("reproduce", "reproduce a row of the paper's tables"),
    "report": Command("report", "write a report on finished runs as one HTML file"),
    "configs": Command("list_configs", "show the table of experiments"),
    "config-keys": Command("config_keys", "print the reference of all config keys"),
    "zeroshapes": Command("make_zeroshapes", "draw the ZeroShapes benchmark"),
    "zerowords": Command("make_zerowords", "draw the ZeroWords benchmark"),
    "pretrain-clip": Command("pretrain_clip", "pretrain the tiny CLIP of ZeroShapes or ZeroWords"),
    "doctor": Command("doctor", "report what jseg found on this machine, and run a self-test"),
    "warmup": Command("warmup", "compile everything that a job needs, before it starts"),
    "parity": Command("parity", "compare jseg with recorded outputs of other implementations"),
    "flops": Command("flops", "count the multiply-adds of CLIP-RC for any number of regions"),
    "completion": Command("completion", "print the script with which a shell completes `jseg`"),
    "gpu-check": Command("gpu_check", "check results and speed on an NVIDIA GPU"),
}


def main(argv: list[str] | None = None) -> int:
    """Runs the command named by the first argument. Returns its exit status, or 2 if there is no such
    command."""
    quiet_interrupt()
    arguments = sys.argv[1:] if argv is None else argv
    if not arguments or arguments[0] in ("-h", "--help"):
        return exit_status(lambda: print(overview()))
    if arguments[0] == "--version":
        return exit_status(lambda: print(f"jseg {__version__}"))
    name, *rest = arguments
    if name not in COMMANDS:
        return refuse(f"jseg has no command {name!r}{did_you_mean(name, COMMANDS)}")
    command = COMMANDS[name]
    sys.argv[0] = f"jseg {name}"  # program name in help and error messages of argparse
    run = load(command).main
    return run(rest) if command.task is None else run(rest, command.task)


def load(command: Command) -> ModuleType:
    """Imports the module of a command."""
    return importlib.import_module(f"jseg.cli.{command.module}")


def overview() -> str:
    """Lists the commands, one per line."""
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
            "`jseg COMMAND --help` shows the options of a command, `jseg --version` the version of jseg.",
        ]
    )
