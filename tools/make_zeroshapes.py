"""Draw the ZeroShapes benchmark: `python tools/make_zeroshapes.py --out data/zeroshapes`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jseg.runtime.command import quiet_interrupt

quiet_interrupt()

from jseg.cli.make_zeroshapes import main

if __name__ == "__main__":
    sys.exit(main())
