"""Report what jseg found on this machine, and run a self-test: `python tools/doctor.py`.

Runs before anything is installed.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jseg.runtime.command import quiet_interrupt

quiet_interrupt()

from jseg.cli.doctor import main

if __name__ == "__main__":
    sys.exit(main())
