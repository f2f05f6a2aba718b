"""Check every image and mask of a config's data: `python tools/check_dataset.py --config configs/...`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jseg.runtime.command import quiet_interrupt

quiet_interrupt()

from jseg.cli.check_dataset import main

if __name__ == "__main__":
    sys.exit(main())
