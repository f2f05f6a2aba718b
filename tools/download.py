"""Download a benchmark or CLIP weights: `python tools/download.py voc2012`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jseg.runtime.command import quiet_interrupt

quiet_interrupt()

from jseg.cli.download import main

if __name__ == "__main__":
    sys.exit(main())
