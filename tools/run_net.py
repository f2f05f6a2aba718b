"""Train, evaluate or apply a model: `python tools/run_net.py --config configs/... --task train|val|test`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jseg.runtime.command import quiet_interrupt

quiet_interrupt()

from jseg.cli.run_net import main

if __name__ == "__main__":
    sys.exit(main())
