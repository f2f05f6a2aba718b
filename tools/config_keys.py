"""Print the reference of all config keys: `python tools/config_keys.py model.backbone`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jseg.runtime.command import quiet_interrupt

quiet_interrupt()

from jseg.cli.config_keys import main

if __name__ == "__main__":
    sys.exit(main())
