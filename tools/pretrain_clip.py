"""Pretrain the tiny CLIP that ZeroShapes starts from: `python tools/pretrain_clip.py OUT.npz`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jseg.runtime.command import quiet_interrupt

quiet_interrupt()

from jseg.cli.pretrain_clip import main

if __name__ == "__main__":
    sys.exit(main())
