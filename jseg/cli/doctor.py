"""Report what jseg needs and found on this machine, with a self-test: `python tools/doctor.py`.

Runs before anything is installed. Exit status 0 if all required things are fine, else 1.
"""

from jseg.doctor.report import main, make_parser

__all__ = ["main", "make_parser"]
