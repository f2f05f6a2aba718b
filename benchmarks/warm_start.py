"""Seconds from the start of Python to the first mask, by part, with everything compiled.

    python benchmarks/warm_start.py                # a CLIP with the sizes of ViT-B/16, random weights

Segments an image of 512 x 512 pixels with two words. The first run encodes the words; the second finds their
embeddings in the cache, as every further start does. Both are processes of their own.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

_START = """
import os, resource, sys, time
sys.path.insert(0, sys.argv[1])
times = [(time.perf_counter(), time.process_time())]
def done(): times.append((time.perf_counter(), time.process_time()))
from jseg.runtime.backend import jt; done()
import numpy as np
from jseg import Segmenter; done()
segmenter = Segmenter.from_clip(sys.argv[2]); done()
words = ["a cat", "a dog"]
segmenter.text_features(words); done()
segmenter.segment(np.random.default_rng(0).integers(0, 256, (512, 512, 3), np.uint8), words); done()
for name, before, after in zip(("import Jittor", "import jseg", "model", "text", "mask"), times, times[1:]):
    print(f"| {name} | {after[0] - before[0]:.2f} | {after[1] - before[1]:.2f} |")
print(f"| all | {times[-1][0] - times[0][0]:.2f} | {times[-1][1] - times[0][1]:.2f} |")
print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MiB", flush=True)
os._exit(0)  # Jittor may crash while it is unloaded, although everything went well
"""


def main() -> int:
    """Prints the tables."""
    with tempfile.TemporaryDirectory() as folder:
        clip = f"{folder}/clip.safetensors"
        write = f"import sys; sys.path[:0] = {sys.path[:2]!r}; import front_door; "
        subprocess.run(
            [sys.executable, "-c", f"{write}front_door.write_clip({clip!r}, 'B-16', None)"], check=True
        )
        for title in ("first start", "further start"):
            print(
                f"\n{title}, load {os.getloadavg()[0]:.1f}\n\n| part | wall s | CPU s |\n|---|---:|---:|",
                flush=True,
            )
            subprocess.run(
                [sys.executable, "-c", _START, str(ROOT), clip],
                check=True,
                env={**os.environ, "JSEG_CACHE": folder},
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
