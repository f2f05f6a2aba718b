"""Classify an image with a CLIP and your own words: `python tools/classify.py photo.jpg "a cat" "a dog"`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jseg.runtime.command import quiet_interrupt

quiet_interrupt()

from jseg.cli.classify import main

if __name__ == "__main__":
    sys.exit(main())
