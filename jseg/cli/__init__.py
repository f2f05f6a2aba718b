"""The commands of jseg, one module each: `main(argv)` reads the options, works and returns the exit status.

`jseg NAME` and `python tools/NAME.py` both lead here. This module needs the standard library alone, so that
the doctor starts before anything is installed.
"""

from pathlib import Path

from jseg.files import expanded, find_file

REPOSITORY = Path(__file__).resolve().parents[2]
"""The clone that this package lies in, with `tests/` and `tools/`, which do not come with an installed
wheel."""


def shipped(path: str) -> str:
    """`path` as given, or the file of that name that comes with jseg: commands work from any folder."""
    try:
        return find_file(path)
    except FileNotFoundError:
        return str(expanded(path))  # whoever opens it says what is missing
