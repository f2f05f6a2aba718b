"""Sizes of the whole-model benchmarks, read by the workers of both frameworks; standard library only."""

import argparse
from typing import NamedTuple

MARK = "ANSWER "
PATCH = 16


class Sizes(NamedTuple):
    """CLIP-RC on a ViT, ViT-B/16 by default: C classes of which S are seen, K prompts, M regions."""

    classes: int = 20
    seen: int = 15
    prompts: int = 10
    regions: int = 16
    size: int = 512
    batch: int = 1
    layers: int = 12
    width: int = 768
    joint: int = 512


PRESETS = {
    "voc": Sizes(),
    "voc256": Sizes(size=256),
    "vocM256": Sizes(regions=256),
    "vocM1024": Sizes(regions=1024),
    "coco": Sizes(classes=171, seen=156, prompts=100),
    "tiny": Sizes(classes=5, seen=4, prompts=3, regions=4, size=64, layers=2, width=128, joint=128),
}


def add_size_options(parser: argparse.ArgumentParser) -> None:
    """Adds `--preset` and an option for each size, which replaces the preset's."""
    parser.add_argument("--preset", choices=PRESETS, default="voc", help="default: voc")
    for name in Sizes._fields:
        parser.add_argument(f"--{name}", type=int, help=f"replaces the {name} of the preset")


def sizes_of(options: argparse.Namespace) -> Sizes:
    """The sizes that the options of `add_size_options` name."""
    given = {name: getattr(options, name) for name in Sizes._fields if getattr(options, name) is not None}
    return PRESETS[options.preset]._replace(**given)
