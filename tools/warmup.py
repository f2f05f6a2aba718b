"""Compile everything that a job needs, before it starts: `python tools/warmup.py --config CONFIG`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jseg.runtime.command import quiet_interrupt

quiet_interrupt()

from jseg.cli.warmup import main

if __name__ == "__main__":
    sys.exit(main())
