"""Report what jseg needs and what it found on this machine, and run a self-test: `python tools/doctor.py`.

Works before anything is installed. The exit status is 0 if everything required is present and works, else 1.
"""

from jseg.doctor.report import main, make_parser

__all__ = ["main", "make_parser"]
