"""`--json` and `--quiet`, which mean the same for all commands.

`--json` prints the result as one JSON object per line on stdout, and nothing else there. `--quiet` prints
nothing on stdout. Both hide progress bars and the name of the device. Errors and problems of single files are
printed on stderr in any case, and the exit status is the same.
"""

import argparse
import contextlib
import json
import math
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jseg import progress
from jseg.runtime.command import exit_status, say

Record = Callable[[Mapping[str, Any]], None]
"""Takes the result of a command, and prints it if `--json` was given."""


def add_output_options(parser: argparse.ArgumentParser, content: str, quiet: bool = True) -> None:
    """Adds the options.

    Args:
        content: what `--json` prints, for the help.
        quiet: also add `--quiet`, for commands whose main result is a file.
    """
    group = parser.add_argument_group("printing").add_mutually_exclusive_group()
    group.add_argument("--json", action="store_true", help=f"print one JSON object per line instead of text: {content}")
    if quiet:
        group.add_argument("--quiet", action="store_true", help="print only errors")


def command_status(
    arguments: argparse.Namespace, run: Callable[[Record], int | None], interrupted: str = "interrupted"
) -> int:
    """Runs a command like `exit_status`, with the output that its options ask for.

    Args:
        run: the command. It prints text, and also hands its result to the function that it gets.
        interrupted: message printed after Ctrl-C.
    """

    def printing() -> int | None:
        with chosen_output(arguments) as record:
            return run(record)

    return exit_status(printing, interrupted)


@contextlib.contextmanager
def chosen_output(arguments: argparse.Namespace):
    """Within this context, text is printed only if neither `--json` nor `--quiet` was given.

    Yields:
        The function for the result.
    """
    if not (arguments.json or getattr(arguments, "quiet", False)):
        yield _no_record
        return
    stdout = sys.stdout
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere), progress.hidden():
        yield (lambda result: say(json.dumps(plain(result)), stdout)) if arguments.json else _no_record


def _no_record(_: Mapping[str, Any]) -> None:
    """Without `--json`."""


def plain(value: Any) -> Any:
    """Returns a value as JSON has them: paths as text, numbers that are not finite as null."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # NumPy
        return plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
