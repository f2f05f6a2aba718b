"""Large images: full-size class maps are never all in memory."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# 171 words at 4000 x 6000 pixels are 15.3 GiB of float32 scores.
_PROGRAM = """
import resource
import numpy as np
from jseg import Segmenter

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # GiB

segmenter = Segmenter.from_clip("weights/zeroshapes_clip.npz", short_side=256)
words = [f"word {index}" for index in range(171)]
segmenter.segment(np.zeros((256, 256, 3), np.uint8), words)
before = peak()
image = np.random.default_rng(0).integers(0, 256, (4000, 6000, 3), np.uint8)
result = segmenter.segment(image, words)
assert result.mask.shape == (4000, 6000) and result.mask.dtype == np.uint8
print(peak() - before)
"""


@pytest.mark.slow
def test_24_megapixels_and_171_words_take_less_than_a_gibibyte() -> None:
    done = subprocess.run([sys.executable, "-c", _PROGRAM], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert float(done.stdout.split()[-1]) < 1.0
