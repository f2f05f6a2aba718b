"""Reproduce a row of the tables of the paper: `python tools/reproduce.py table1 --row voc2012`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jseg.runtime.command import quiet_interrupt

quiet_interrupt()

from jseg.cli.reproduce import main

if __name__ == "__main__":
    sys.exit(main())
