"""Zero-shot accuracy of the tiny CLIP on whole pictures of single objects, drawn from several seeds.

    python benchmarks/zeroshapes_clip.py weights/zeroshapes_clip.npz --seeds 0 1 2

Each seed draws other test pictures (split "test", never used in pretraining). In percent: all 20 classes,
pictures of seen and of unseen classes, and the colour and shape word of the answer by themselves.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jseg.models.clip import load_clip
from jseg.runtime.command import exit_status
from jseg.zeroshapes.pretrain import zero_shot_accuracy


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clip", help="weight file")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--pictures", type=int, default=1000, help="of each seed")
    arguments = parser.parse_args()
    if arguments.pictures < 1:
        parser.error("--pictures must be at least 1")
    return exit_status(lambda: report(arguments))


def report(arguments: argparse.Namespace) -> int:
    """Measures and prints the table; the exit status.

    Raises:
        ValueError, OSError: the weight file is missing, damaged or no CLIP.
    """
    clip = load_clip(arguments.clip)
    results = [
        zero_shot_accuracy(clip, seed, count=arguments.pictures, split="test") for seed in arguments.seeds
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
