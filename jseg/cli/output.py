"""`--json` and `--quiet`, which mean the same in all commands.

`--json` prints the result as one JSON object per line on stdout, and nothing else there. `--quiet` prints
nothing on stdout. Both hide progress bars and the name of the device. Errors, and problems of single files,
are printed on stderr in any case, and the exit status is the same.
"""

import argparse
import contextlib
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jseg import progress
from jseg.runtime.command import exit_status

Record = Callable[[Mapping[str, Any]], None]
"""Takes the result of a command, and prints it if `--json` was given."""


def add_output_options(parser: argparse.ArgumentParser, content: str, quiet: bool = True) -> None:
    """Adds the options.

    Args:
        content: what `--json` prints, for the help.
        quiet: also add `--quiet`, for commands whose result is a file, or an exit status.
    """
    options = parser.add_mutually_exclusive_group()
    options.add_argument("--json", action="store_true", help=f"print JSON instead of text: {content}")
    if quiet:
        options.add_argument("--quiet", action="store_true", help="print only errors")


def command_status(
    arguments: argparse.Namespace, run: Callable[[Record], int | None], interrupted: str = "interrupted"
) -> int:
    """Runs a command like `exit_status`, with the output that its options ask for.

    Args:
        run: the command. It prints text, and also passes its result to the function that it is given.
        interrupted: message printed after Ctrl-C.
    """

    def with_output() -> int | None:
        with chosen_output(arguments) as record:
            return run(record)

    return exit_status(with_output, interrupted)


@contextlib.contextmanager
def chosen_output(arguments: argparse.Namespace) -> Iterator[Record]:
    """Within this context, stdout and progress are discarded if `--json` or `--quiet` was given.

    Yields:
        The function for the result.
    """
    if not (arguments.json or getattr(arguments, "quiet", False)):
        yield _discard
        return
    stdout = sys.stdout

    def print_record(result: Mapping[str, Any]) -> None:
        print(json.dumps(plain(result)), file=stdout, flush=True)

    with (
        Path(os.devnull).open("w", encoding="utf-8") as nowhere,
        contextlib.redirect_stdout(nowhere),
        progress.hidden(),
    ):
        yield print_record if arguments.json else _discard


def _discard(_: Mapping[str, Any]) -> None:
    """Takes the result if it is not printed as JSON."""


def plain(value: Any) -> Any:
    """Returns a value in the types of JSON: paths as text, and None for numbers that are not finite."""
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
