"""Fits linear probes on the frozen patch and region features of a ZeroShapes encoder.

    python benchmarks/zeroshapes_probe.py weights/zeroshapes_clip.npz [--checkpoints baseline.safetensors ...]

The first line is CLIP without prompts, and each checkpoint adds a line with its trained prompts. A probe is
ridge regression on the one-hot class of patches that are at least half filled by one object. It sees the
patch features alone, or together with the feature of the patch's region. All classes are probed, so this
measures the content of the features and not zero-shot transfer. The table lists, in percent of the patches of
300 validation images, how often the class (of 20) and its shape word are right.
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jseg.checkpoints import load_arrays
from jseg.drawn.pretrain import normalise_images
from jseg.drawn.zeroshapes import CLASSES, SHAPES, draw_scene
from jseg.models.segmentors import CLIPRC
from jseg.runtime.backend import jt
from jseg.runtime.command import exit_status

GRID, PATCH, BATCH, RIDGE = 8, 8, 50, 1e-2


class Patches(NamedTuple):
    """Images with the class of each patch."""

    images: np.ndarray  # (B, 3, 64, 64)
    classes: np.ndarray  # (B, 64)
    filled: np.ndarray  # (B, 64) bool, True where at least half of the patch is that class


def draw(split: str, count: int) -> Patches:
    scenes = [draw_scene(0, split, index) for index in range(count)]
    labels = np.stack([scene.label for scene in scenes]).reshape(count, GRID, PATCH, GRID, PATCH)
    labels = labels.transpose(0, 1, 3, 2, 4).reshape(count, GRID * GRID, PATCH * PATCH)
    pixels = np.stack([(labels == index).sum(-1) for index in range(len(CLASSES.names))], axis=-1)
    return Patches(
        normalise_images(np.stack([scene.image for scene in scenes])),
        pixels.argmax(-1),
        pixels.max(-1) * 2 >= PATCH * PATCH,
    )


def encoder_of(clip: str, checkpoint: str | None):
    """Returns the frozen encoder, with the trained prompts of a checkpoint if one is given.

    Raises:
        ValueError, OSError: if a file is missing, damaged or of another model; the message names it.
    """
    backbone = CLIPRC(
        CLASSES.names,
        CLASSES.unseen,
        clip=clip,
        decode_head=dict(type="CLIPRCHead", num_heads=1),
        image_size=GRID * PATCH,
    ).backbone
    if checkpoint is not None:
        arrays, _ = load_arrays(checkpoint)
        for name, parameter in backbone.trainable_parameters().items():
            value = arrays.get(f"backbone.{name}")
            if value is None or list(value.shape) != list(parameter.shape):
                raise ValueError(
                    f"{checkpoint}: no backbone.{name} of shape {list(parameter.shape)}; give a checkpoint "
                    "of a ZeroShapes run"
                )
            parameter.update(jt.array(value))
    backbone.eval()
    return backbone


def features(backbone, images: np.ndarray, side: int, prompts: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns features (B, 64, d) of patches, and of each patch's region out of side x side, or None."""
    patches, regions = [], []
    with jt.no_grad():
        for start in range(0, len(images), BATCH):
            output = backbone.encode(
                jt.array(images[start : start + BATCH]), side * side, use_prompts=prompts
            )
            patches.append(output.image.numpy())
            if side:
                grid = output.regions.numpy().reshape(len(patches[-1]), side, side, -1)
                wide = grid.repeat(GRID // side, axis=1).repeat(GRID // side, axis=2)
                regions.append(wide.reshape(*patches[-1].shape))
    return np.concatenate(patches), np.concatenate(regions) if side else None


def probe(train: Patches, known: np.ndarray, test: Patches, asked: np.ndarray) -> str:
    """Fits ridge regression on the features `known` of the training patches, and tests it on `asked`.

    Returns:
        The accuracies of class and shape as two table cells.
    """

    def rows(values: np.ndarray, patches: Patches) -> np.ndarray:
        chosen = values[patches.filled].astype(np.float64)
        return np.concatenate([chosen, np.ones((len(chosen), 1))], axis=1)

    inputs, answers = rows(known, train), np.eye(len(CLASSES.names))[train.classes[train.filled]]
    weights = np.linalg.solve(inputs.T @ inputs + RIDGE * np.eye(inputs.shape[1]), inputs.T @ answers)
    guess, truth = (rows(asked, test) @ weights).argmax(1), test.classes[test.filled]
    shape = (guess % len(SHAPES) == truth % len(SHAPES)).mean()
    return f"{100 * (guess == truth).mean():.1f} | {100 * shape:.1f}"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("clip", help="weight file")
    parser.add_argument("--checkpoints", nargs="+", default=[], help="checkpoints of ZeroShapes runs")
    parser.add_argument("--images", type=int, default=2000, help="number of images for fitting the probes")
    arguments = parser.parse_args()
    if arguments.images < 1:
        parser.error("--images must be at least 1")
    return exit_status(lambda: report(arguments))


def report(arguments: argparse.Namespace) -> int:
    """Fits the probes, prints the table and returns the exit status.

    Raises:
        ValueError, OSError: see `encoder_of`.
    """
    train, test = draw("train", arguments.images), draw("val", 300)
    print("| encoder | regions | features | class | shape |\n|---|---|---|---|---|")
    for checkpoint in [None, *arguments.checkpoints]:
        backbone = encoder_of(arguments.clip, checkpoint)
        for side in (0, 2, 4):
            (known, near), (asked, near_asked) = (
                features(backbone, part.images, side, prompts=checkpoint is not None)
                for part in (train, test)
            )
            start = f"| {checkpoint or 'CLIP'} | {side * side} | "
            print(f"{start}patch | {probe(train, known, test, asked)} |", flush=True)
            if side:
                both = [np.concatenate(pair, axis=-1) for pair in ((known, near), (asked, near_asked))]
                print(f"{start}patch, region | {probe(train, both[0], test, both[1])} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
