"""Measures the zero-shot accuracy of a tiny CLIP on whole images of single objects, over several seeds.

    python benchmarks/drawn_clip.py zeroshapes weights/zeroshapes_clip.npz --seeds 0 1 2

Each seed draws other test images (split "test", which pretraining never uses). The accuracies, in percent,
are those over all classes, on images of seen and of unseen classes, and of parts of the class words.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jseg.drawn import DRAWN
from jseg.drawn.pretrain import zero_shot_accuracy
from jseg.models.clip import load_clip
from jseg.runtime.command import exit_status


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", choices=tuple(DRAWN))
    parser.add_argument("clip", help="weight file")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=1000, help="number of images of each seed")
    arguments = parser.parse_args()
    if arguments.images < 1:
        parser.error("--images must be at least 1")
    return exit_status(lambda: report(arguments))


def report(arguments: argparse.Namespace) -> int:
    """Measures, prints the table and returns the exit status.

    Raises:
        ValueError, OSError: if the weight file is missing, damaged or not that of a CLIP.
    """
    clip = load_clip(arguments.clip)
    results = [
        zero_shot_accuracy(clip, DRAWN[arguments.dataset], seed, count=arguments.images, split="test")
        for seed in arguments.seeds
    ]
    print(
        "| zero-shot accuracy, % | " + " | ".join(results[0]) + " |\n" + "|---" * (len(results[0]) + 1) + "|"
    )
    for seed, result in zip(arguments.seeds, results):
        print(f"| seed {seed} | " + " | ".join(f"{value:.1f}" for value in result.values()) + " |")
    mean = np.mean([list(result.values()) for result in results], axis=0)
    print("| mean | " + " | ".join(f"{value:.1f}" for value in mean) + " |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
