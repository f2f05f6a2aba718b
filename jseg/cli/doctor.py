"""Report what jseg found on this machine, and test it.

    jseg doctor
    jseg doctor --no-self-test    # at once, without Jittor

Works before anything is installed. The exit status is 0 if everything required is present and works, else 1.
"""

import argparse
import os

from jseg.cli.output import Record, add_output_options, command_status
from jseg.doctor.report import MISSING, report
from jseg.runtime.device import DEVICES, VARIABLE


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--no-self-test", action="store_true", help="do not start Jittor")
    parser.add_argument(
        "--timeout",
        type=float,
        default=1800.0,
        metavar="SECONDS",
        help="end the self-test after so long without progress (default: %(default).0f)",
    )
    parser.add_argument("--device", choices=DEVICES, help="device of the self-test (default: auto)")
    add_output_options(parser, "every line of the report, and whether jseg works")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Returns 0 if everything required is present and works, 1 if not, 2 after a user error."""
    parser = make_parser()
    arguments = parser.parse_args(argv)
    if arguments.timeout <= 0:
        parser.error("--timeout must be above 0")

    def run(record: Record) -> int:
        if arguments.device:
            os.environ[VARIABLE] = arguments.device
        findings = report(not arguments.no_self_test, arguments.timeout)
        works = all(finding.mark != MISSING for finding in findings)
        lines = [
            {"mark": found.mark, "name": found.name, "text": found.text, "fix": found.fix}
            for found in findings
        ]
        record({"works": works, "findings": lines})
        return 0 if works else 1

    return command_status(arguments, run)
