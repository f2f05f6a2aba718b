"""Convert annotations to the folder that custom configs read: `python tools/annotations.py FORMAT IN OUT`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jseg.runtime.command import quiet_interrupt

quiet_interrupt()

from jseg.cli.annotations import main

if __name__ == "__main__":
    sys.exit(main())
