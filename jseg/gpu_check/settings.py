"""Settings that all programs of this package share, including the one for PyTorch.

The Python that runs the latter may lack the rest of jseg, so only the standard library is imported here.
"""

from typing import NamedTuple

MARK = "RESULT "
"""Beginning of the lines on which a program prints a result as JSON."""

TIMED_RUNS = 5


class Setting(NamedTuple):
    """A training setting of the paper: prompts, regions, all and seen classes, image side and batch size."""

    name: str
    prompts: int
    regions: int
    classes: int
    seen: int
    size: int
    batch: int
    width: int = 768
    layers: int = 12
    joint: int = 512


SETTINGS = (Setting("VOC", 10, 16, 20, 15, 512, 16), Setting("COCO-Stuff", 100, 16, 171, 156, 512, 16))
SMALL_SETTINGS = (Setting("small", 4, 4, 5, 3, 64, 2, width=128, layers=2, joint=64),)
