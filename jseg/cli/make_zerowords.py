"""Draw the ZeroWords benchmark.

    jseg zerowords --out data/zerowords

Writes images, masks and split files in the PASCAL VOC folder layout. The same seed gives the same files.
"""

import argparse

from jseg.cli.draw import draw, drawing_parser


def make_parser() -> argparse.ArgumentParser:
    """The options."""
    return drawing_parser("zerowords", __doc__)


def main(argv: list[str] | None = None) -> int:
    """Returns 0 on success, 2 after a user error."""
    return draw(make_parser(), argv, "zerowords")
