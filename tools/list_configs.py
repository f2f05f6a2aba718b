"""Print a table of the experiments, read from the configs: `python tools/list_configs.py`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jseg.runtime.command import quiet_interrupt

quiet_interrupt()

from jseg.cli.list_configs import main

if __name__ == "__main__":
    sys.exit(main())
