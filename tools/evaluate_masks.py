"""Score predicted masks saved to files: `python tools/evaluate_masks.py PRED GT --dataset voc2012`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jseg.runtime.command import quiet_interrupt

quiet_interrupt()

from jseg.cli.evaluate_masks import main

if __name__ == "__main__":
    sys.exit(main())
