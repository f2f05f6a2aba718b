"""The commands of jseg, one module each: `main(argv)` reads the options, works and returns the exit status.

`jseg NAME` and `python tools/NAME.py` both lead here. This module needs the standard library alone, so that
the doctor starts before anything is installed.
"""

from pathlib import Path

from jseg.files import expanded

REPOSITORY = Path(__file__).resolve().parents[2]
"""The clone that this package lies in, with `configs/`, `weights/` and
`tests/`. None of these lies beside an installed wheel."""


def shipped(path: str) -> str:
    """`path` as given, or inside the clone if it lies only there, so that commands work from any folder."""
    given = expanded(path)
    inside = REPOSITORY / given
    return str(inside if not given.exists() and inside.exists() else given)
