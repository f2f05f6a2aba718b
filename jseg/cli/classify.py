"""Classify an image with a CLIP and words of your own.

    jseg classify photo.jpg "a cat" "a dog" --clip weights/ViT-B-16.safetensors

Prints the probability of each word, highest first. The probabilities sum to 1 over the given words. The image
is preprocessed as by OpenAI's CLIP: bicubic resize of the short side, centre crop, CLIP's mean and std.
--clip accepts OpenAI's archives, Hugging Face and open_clip files, and files written by
tools/convert_clip.py.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jseg.cli.output import Record, add_output_options, command_status
from jseg.datasets.clip_image import read_clip_image
from jseg.runtime.device import add_device_options
from jseg.runtime.memory import ONE_INPUT, memory_advice
from jseg.runtime.selection import name_device, select_device

DEFAULT_CLIP = "weights/zeroshapes_clip.npz"


def classify(path: str, words: Sequence[str], clip: str, templates: Sequence[str]) -> list[tuple[str, float]]:
    """Returns (word, probability) in the order of the words.

    Args:
        templates: one name in `jseg.models.clip.TEMPLATES`, or sentences with `{}` in place of the word.

    Raises:
        ValueError, OSError: if a file cannot be read, or a template or word is not valid.
    """
    from jseg.checkpoints.convert import find_weights
    from jseg.models.clip import TEMPLATES, class_probabilities, load_clip, text_embeddings
    from jseg.runtime.backend import jt

    named = (len(templates) == 1 and "{}" not in templates[0]) or templates[0] in TEMPLATES
    model = load_clip(find_weights(clip))
    image = read_clip_image(path, model.config.image_resolution)
    text = text_embeddings(model, words, templates[0] if named else list(templates))
    probabilities = class_probabilities(model, jt.array(image[None]), text)[0]
    if not np.isfinite(probabilities).all():
        raise ValueError(f"{clip}: the probabilities of these weights are not finite; use another file")
    return [(word, float(value)) for word, value in zip(words, probabilities)]


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("image", metavar="IMAGE", help="image file")
    parser.add_argument("words", metavar="WORD", nargs="+", help="words to compare; quote phrases")
    parser.add_argument(
        "--clip", default=DEFAULT_CLIP, metavar="PATH", help="CLIP weights (default: %(default)s)"
    )
    parser.add_argument(
        "--templates",
        nargs="+",
        default=["single"],
        metavar="TEMPLATE",
        help="a name (single, ensemble15) or sentences with {} in place of the word (default: single)",
    )
    add_output_options(parser, "the words with their probabilities, highest first", quiet=False)
    add_device_options(parser)
    return parser


def main(argv: list[str] | None = None) -> int:
    """Returns 0 on success, 2 after a user error."""
    args = make_parser().parse_args(argv)

    def run(record: Record) -> None:
        select_device(args.device, args.precision)
        if not Path(args.image).exists():
            raise FileNotFoundError(f"{args.image}: no such image; check the path")
        with memory_advice(ONE_INPUT):
            rows = classify(args.image, args.words, args.clip, args.templates)
        name_device()
        rows.sort(key=lambda row: -row[1])
        for word, probability in rows:
            print(f"{probability:8.4f}  {word}")
        found = [{"word": word, "probability": probability} for word, probability in rows]
        record({"image": args.image, "clip": args.clip, "words": found})

    return command_status(args, run)
