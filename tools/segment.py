"""Segment images with your own words: `python tools/segment.py photo.jpg --classes "cat, dog"`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jseg.runtime.command import quiet_interrupt

quiet_interrupt()

from jseg.cli.segment import main

if __name__ == "__main__":
    sys.exit(main())
