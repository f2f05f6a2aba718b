"""Pretrain the tiny CLIP that ZeroShapes or ZeroWords starts from.

    jseg pretrain-clip weights/zeroshapes_clip.npz
    jseg pretrain-clip weights/zerowords_clip.npz --dataset zerowords

Images and captions are drawn during training; nothing is read from disk. The file is written after every
test, so an interrupted run leaves its latest state. The defaults are the settings for each dataset
(`DEFAULTS` in jseg/drawn/pretrain.py): batch size 96 and seed 0, 3000 iterations and 20000 scenes
for ZeroShapes, 4000 iterations and 12000 scenes for ZeroWords.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from jseg.checkpoints import save_npz
from jseg.cli.output import Record, add_output_options, command_status
from jseg.drawn import DRAWN
from jseg.files import expanded
from jseg.runtime.command import prove_writable
from jseg.runtime.device import add_device_options
from jseg.runtime.memory import memory_advice
from jseg.runtime.selection import name_device, select_device

LARGEST_SEED = 2**31 - 1
"""Jittor stores the seed in a C int."""


def make_parser() -> argparse.ArgumentParser:
    """Returns the parser of the command line."""
    # Only options that are given replace the default settings.
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        argument_default=argparse.SUPPRESS,
    )
    parser.add_argument("out", type=expanded, help="file to write (.npz, half precision, compressed)")
    parser.add_argument(
        "--dataset", choices=tuple(DRAWN), help="the dataset that is drawn (default: zeroshapes)"
    )
    parser.add_argument("--iterations", type=int, help="training steps")
    parser.add_argument("--batch-size", type=int, help="images per step")
    parser.add_argument(
        "--scenes", type=int, dest="num_scenes", metavar="SCENES", help="scenes drawn before training"
    )
    parser.add_argument("--seed", type=int, help="seed of weights, scenes and batches")
    add_output_options(parser, "the file and its size")
    parser.set_defaults(json=False, quiet=False)
    add_device_options(parser)
    return parser


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses `out`, and those of device, precision, dataset, iterations, batch_size, num_scenes and seed
    that are given.

    Raises:
        SystemExit: with status 2 after a message, if a number is out of range.
    """
    parser = make_parser()
    arguments = parser.parse_args(argv)
    counts = {"--iterations": "iterations", "--batch-size": "batch_size", "--scenes": "num_scenes"}
    for option, name in counts.items():
        if getattr(arguments, name, 1) < 1:
            parser.error(f"{option} {getattr(arguments, name)}: must be at least 1")
    if not 0 <= getattr(arguments, "seed", 0) <= LARGEST_SEED:
        parser.error(f"--seed {arguments.seed}: must be from 0 to {LARGEST_SEED}")
    return arguments


def train(out: Path, given: dict[str, Any], record: Record) -> None:
    """Pretrains with the given settings, and defaults for the others, and writes `out`.

    Raises:
        ValueError, OSError: if `out` cannot be written.
    """
    from jseg.drawn.pretrain import DEFAULTS, pretrain
    from jseg.models.clip import CLIPConfig

    config = CLIPConfig(
        embed_dim=64,
        image_resolution=64,
        vision_layers=5,
        vision_width=128,
        vision_patch_size=8,
        context_length=32,
        vocab_size=49408,
        transformer_width=64,
        transformer_layers=3,
        vision_heads=2,
        transformer_heads=1,
    )

    def save(arrays: dict[str, np.ndarray]) -> None:
        save_npz(out, {name: value.astype(np.float16) for name, value in arrays.items()})

    settings = replace(DEFAULTS[given.get("dataset", "zeroshapes")], **given)
    pretrain(config, settings, lambda line: print(line, flush=True), save)
    print(f"wrote {out} ({out.stat().st_size / 1e6:.2f} MB)")
    record({"out": out, "bytes": out.stat().st_size})


def main(argv: list[str] | None = None) -> int:
    """Returns 0 on success, 2 after a user error."""
    arguments = parse_arguments(argv)
    given = {name: value for name, value in vars(arguments).items() if name not in ("json", "quiet")}
    out = given.pop("out")

    def run(record: Record) -> None:
        select_device(given.pop("device", None), given.pop("precision", None))
        prove_writable(out, replaced=True)
        name_device()
        with memory_advice("lower --batch-size"):
            train(out, given, record)

    return command_status(arguments, run)
