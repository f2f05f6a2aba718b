"""Ask a CLIP how likely each of some words is for a picture.

    python tools/classify.py picture.jpg "a cat" "a dog" --clip weights/ViT-B-16.safetensors

Prints probabilities (they add up to 1 over the given words), best first. The picture is prepared as OpenAI's
CLIP does: bicubic resize of the short side, centre crop, CLIP's mean and std. --clip takes any CLIP: OpenAI's
archives, Hugging Face and open_clip files, and what tools/convert_clip.py wrote.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jseg.cli import shipped
from jseg.datasets.clip_image import read_clip_image
from jseg.runtime.command import exit_status
from jseg.runtime.device import add_device_options
from jseg.runtime.memory import ONE_INPUT, memory_advice
from jseg.runtime.selection import name_device, select_device

DEFAULT_CLIP = "weights/zeroshapes_clip.npz"


def classify(
    picture: str, words: Sequence[str], clip: str, templates: Sequence[str]
) -> list[tuple[str, float]]:
    """(word, probability) in the order of the words.

    Args:
        templates: one name of `jseg.models.clip.TEMPLATES`, or sentences with `{}` where the word goes.

    Raises:
        ValueError, OSError: a file cannot be read, a template or word does not fit.
    """
    from jseg.models.clip import TEMPLATES, class_probabilities, load_clip, text_embeddings
    from jseg.runtime.backend import jt

    named = (len(templates) == 1 and "{}" not in templates[0]) or templates[0] in TEMPLATES
    model = load_clip(clip)
    image = read_clip_image(picture, model.config.image_resolution)
    text = text_embeddings(model, words, templates[0] if named else list(templates))
    probabilities = class_probabilities(model, jt.array(image[None]), text)[0]
    if not np.isfinite(probabilities).all():
        raise ValueError(f"{clip}: with these weights the probabilities are not finite; use another file")
    return [(word, float(value)) for word, value in zip(words, probabilities)]


def make_parser() -> argparse.ArgumentParser:
    """The options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("image", metavar="IMAGE", help="picture file")
    parser.add_argument("words", metavar="WORD", nargs="+", help="what might be in it; quote phrases")
    parser.add_argument(
        "--clip", default=DEFAULT_CLIP, metavar="PATH", help="CLIP weights (default: %(default)s)"
    )
    parser.add_argument(
        "--templates",
        nargs="+",
        default=["single"],
        metavar="TEMPLATE",
        help="a name (single, ensemble15) or sentences with {} for the word (default: single)",
    )
    add_device_options(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """0 on success, 2 after an error of the user."""
    args = make_parser().parse_args(argv)

    def run() -> None:
        select_device(args.device, args.precision)
        if not Path(args.image).exists():
            raise FileNotFoundError(f"{args.image}: no such picture; check the path")
        with memory_advice(ONE_INPUT):
            rows = classify(args.image, args.words, shipped(args.clip), args.templates)
        name_device()
        for word, probability in sorted(rows, key=lambda row: -row[1]):
            print(f"{probability:8.4f}  {word}")

    return exit_status(run)
