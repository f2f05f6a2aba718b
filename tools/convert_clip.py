"""Convert a CLIP to jseg's own format: `python tools/convert_clip.py ViT-B-16.pt ViT-B-16.safetensors`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jseg.runtime.command import quiet_interrupt

quiet_interrupt()

from jseg.cli.convert_clip import main

if __name__ == "__main__":
    sys.exit(main())
