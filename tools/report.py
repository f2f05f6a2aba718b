"""Write a report on finished runs: `python tools/report.py work_dirs/zeroshapes_demo`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jseg.runtime.command import quiet_interrupt

quiet_interrupt()

from jseg.cli.report import main

if __name__ == "__main__":
    sys.exit(main())
