"""Multiply-adds of CLIP-RC by part and by number of regions: `python tools/flops.py --help`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jseg.runtime.command import quiet_interrupt

quiet_interrupt()

from jseg.cli.flops import main

if __name__ == "__main__":
    sys.exit(main())
