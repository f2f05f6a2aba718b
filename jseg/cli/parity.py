"""Compare jseg with recorded outputs of other implementations.

    jseg parity tests/golden/tiny

A case folder contains `case.json`, whose `kind` (clip_rc,
zegclip, clip, dense_clip, tokenizer or training) determines the other files; see `jseg/parity/__init__.py`.

Every recorded quantity is computed again. The table gives the largest difference relative to the largest
recorded value of the tensor (for integers, the share of differing elements). The exit status is 1 if a
difference exceeds its tolerance, and 2, with one sentence on stderr, for a bad case folder.
"""

import argparse

import numpy as np

from jseg.cli.output import Record, add_output_options, command_status
from jseg.files import expanded
from jseg.parity import compare, format_rows, run_case
from jseg.runtime.command import prove_writable
from jseg.runtime.device import add_device_options
from jseg.runtime.memory import ONE_INPUT, memory_advice
from jseg.runtime.selection import name_device, select_device


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("case_dir", type=expanded, help="folder with case.json")
    parser.add_argument("--out", type=expanded, help="write the computed arrays to this .npz file")
    add_output_options(parser, "every quantity with its difference and tolerance")
    add_device_options(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Returns 0 if all differences are within tolerance, 1 if not, 2 after a user error."""
    options = make_parser().parse_args(argv)
    return command_status(options, lambda record: run(options, record))


def run(options: argparse.Namespace, record: Record) -> int:
    """Computes and compares a case, and returns the exit status.

    Raises:
        ValueError: if the case cannot be computed. OSError: if the computed arrays cannot be written.
    """
    select_device(options.device, options.precision)
    if options.out:
        prove_writable(options.out)
    try:
        with memory_advice(ONE_INPUT):
            computed, recorded = run_case(options.case_dir)
        rows = compare(computed, recorded)
        table = format_rows(rows)
    except (OSError, ValueError) as problem:
        raise ValueError(f"{options.case_dir}: {problem}") from problem
    # Jittor's errors for sizes that do not match.
    except (RuntimeError, AssertionError, KeyError, IndexError) as problem:
        reason = (str(problem).strip().splitlines() or [type(problem).__name__])[0]
        raise ValueError(
            f"{options.case_dir}: cannot be computed ({reason}); its files do not belong together"
        ) from problem
    if options.out:
        with options.out.open("wb") as file:  # np.savez would append a suffix to a file name
            np.savez(file, **computed)
    name_device()
    print(table)
    passed = all(row.passed for row in rows)
    quantities = [{**row._asdict(), "passed": row.passed} for row in rows]
    record({"case": options.case_dir, "passed": passed, "quantities": quantities})
    return 0 if passed else 1
