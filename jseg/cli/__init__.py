"""The commands of jseg, one module each. `main(argv)` parses the options, runs the command and returns its
exit status.

`jseg NAME` and `python tools/NAME.py` both call these modules. This module needs only the standard library,
so that the doctor can run before anything is installed.
"""

from pathlib import Path

from jseg.files import expanded, find_file

REPOSITORY = Path(__file__).resolve().parents[2]
"""Root of the clone that contains this package, with `tests/` and `tools/`, which are not part of a wheel."""


def shipped(path: str) -> str:
    """Returns `path` or the file of that name that is shipped with jseg, so that commands work in any
    folder."""
    try:
        return find_file(path)
    except FileNotFoundError:
        return str(expanded(path))  # opening it will raise an error
