"""Draw the ZeroWords benchmark: `python tools/make_zerowords.py --out data/zerowords`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jseg.runtime.command import quiet_interrupt

quiet_interrupt()

from jseg.cli.make_zerowords import main

if __name__ == "__main__":
    sys.exit(main())
