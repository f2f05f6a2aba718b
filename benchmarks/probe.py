"""What the frozen features of a tiny CLIP tell about the class of a patch, alone and with its region.

    python benchmarks/probe.py zerowords weights/zerowords_clip.npz
    python benchmarks/probe.py zeroshapes weights/zeroshapes_clip.npz --checkpoints RUN.safetensors

The first lines are CLIP without prompts; each checkpoint adds lines with its trained prompts and region
tokens. Patches count if at least half of them is one object. Each line is one kind of answer, for patches of
validation images:

- zero-shot: the class word nearest to the feature; nothing is fitted. "Region" is the token of the region
  that contains the patch.
- words: ridge regression from features to the embeddings of class words, fitted to patches of seen classes,
  then the nearest word of all. For unseen classes, this is what a linear decoder could transfer.
- all classes: ridge regression to the classes, fitted with the masks of all of them: what the features hold.

The columns are the accuracy in percent on all patches, on those of seen and of unseen classes, among all
classes; and on those of unseen classes among unseen classes alone.
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jseg.checkpoints import load_arrays
from jseg.drawn import DRAWN, DrawnDataset
from jseg.drawn.pretrain import normalise_images
from jseg.models.clip import load_clip, text_embeddings
from jseg.models.segmentors import CLIPRC
from jseg.runtime.backend import jt
from jseg.runtime.command import exit_status

PATCH, BATCH, RIDGE = 8, 50, 1e-2


class Patches(NamedTuple):
    """Images with the class of each of their N patches."""

    images: np.ndarray  # (B, 3, H, W)
    classes: np.ndarray  # (B, N)
    filled: np.ndarray  # (B, N) bool, True where at least half of the patch is that class


def draw(dataset: DrawnDataset, split: str, count: int) -> Patches:
    scenes = [dataset.draw(0, split, index, dataset.size) for index in range(count)]
    grid = dataset.size // PATCH
    labels = np.stack([scene.label for scene in scenes]).reshape(count, grid, PATCH, grid, PATCH)
    labels = labels.transpose(0, 1, 3, 2, 4).reshape(count, grid * grid, PATCH * PATCH)
    pixels = np.stack([(labels == index).sum(-1) for index in range(len(dataset.classes.names))], axis=-1)
    images = normalise_images(np.stack([scene.image for scene in scenes]))
    return Patches(images, pixels.argmax(-1), pixels.max(-1) * 2 >= PATCH * PATCH)


def encoder_of(dataset: DrawnDataset, clip: str, checkpoint: str | None):
    """Returns the frozen encoder, with trained prompts, and trained region tokens, of a checkpoint if given.

    Raises:
        ValueError, OSError: if a file is missing, damaged or of another model; the message names it.
    """
    arrays = {} if checkpoint is None else load_arrays(checkpoint)[0]
    trained = arrays.get("backbone.region_level_bridge")
    regions = {} if trained is None else dict(num_regions=len(trained), train_regions=True)
    backbone = CLIPRC(
        dataset.classes.names,
        dataset.classes.unseen,
        clip=clip,
        backbone=dict(type="RegionBridgeEncoder", **regions),
        decode_head=dict(type="CLIPRCHead", num_heads=1),
        image_size=dataset.size,
    ).backbone
    if checkpoint is not None:
        for name, parameter in backbone.trainable_parameters().items():
            value = arrays.get(f"backbone.{name}")
            if value is None or list(value.shape) != list(parameter.shape):
                raise ValueError(
                    f"{checkpoint}: no backbone.{name} of shape {list(parameter.shape)}; give a checkpoint "
                    "of a run with this CLIP"
                )
            parameter.update(jt.array(value))
    backbone.eval()
    return backbone


def features(backbone, images: np.ndarray, side: int, prompts: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns features (B, N, d) of patches, and of each patch's region out of side x side, or None."""
    patches, regions = [], []
    with jt.no_grad():
        for start in range(0, len(images), BATCH):
            output = backbone.encode(
                jt.array(images[start : start + BATCH]), side * side, use_prompts=prompts
            )
            patches.append(output.image.numpy())
            if side:
                tokens = output.regions.numpy().reshape(len(patches[-1]), side, side, -1)
                width = output.grid[0] // side
                regions.append(tokens.repeat(width, axis=1).repeat(width, axis=2).reshape(*patches[-1].shape))
    return np.concatenate(patches), np.concatenate(regions) if side else None


def fitted(known: np.ndarray, targets: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Ridge regression with an intercept: answers (n, t) for the features `asked` (n, d)."""
    known, asked = (
        np.pad(rows.astype(np.float64), ((0, 0), (0, 1)), constant_values=1) for rows in (known, asked)
    )
    weights = np.linalg.solve(known.T @ known + RIDGE * np.eye(known.shape[1]), known.T @ targets)
    return asked @ weights


class Probe:
    """Answers on the patches of a training and a validation set of a dataset."""

    def __init__(self, dataset: DrawnDataset, text: np.ndarray, train: Patches, test: Patches) -> None:
        self.text = text
        self.unseen = np.array(dataset.classes.unseen)
        self.known, self.truth = train.classes[train.filled], test.classes[test.filled]

    def accuracies(self, scores: np.ndarray) -> str:
        """Table cells for scores (n, C) of the patches."""
        hidden = np.isin(self.truth, self.unseen)
        right = scores.argmax(1) == self.truth
        among = self.unseen[scores[hidden][:, self.unseen].argmax(1)] == self.truth[hidden]
        values = (right.mean(), right[~hidden].mean(), right[hidden].mean(), among.mean())
        return " | ".join(f"{100 * value:.1f}" for value in values)

    def zero_shot(self, asked: np.ndarray) -> str:
        return self.accuracies(asked @ self.text.T)

    def words(self, known: np.ndarray, asked: np.ndarray) -> str:
        centre = self.text.mean(0)
        seen = ~np.isin(self.known, self.unseen)
        answers = fitted(known[seen], self.text[self.known[seen]] - centre, asked)
        return self.accuracies(answers @ (self.text - centre).T)

    def all_classes(self, known: np.ndarray, asked: np.ndarray) -> str:
        return self.accuracies(fitted(known, np.eye(len(self.text))[self.known], asked))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", choices=tuple(DRAWN))
    parser.add_argument("clip", help="weight file")
    parser.add_argument("--checkpoints", nargs="+", default=[], help="checkpoints of runs with this CLIP")
    parser.add_argument("--images", type=int, default=2000, help="number of images for fitting the probes")
    parser.add_argument("--sides", type=int, nargs="+", default=[2, 3, 4], help="regions in each direction")
    arguments = parser.parse_args()
    if arguments.images < 1:
        parser.error("--images must be at least 1")
    grid = DRAWN[arguments.dataset].size // PATCH
    arguments.sides = [side for side in arguments.sides if 0 < side <= grid and grid % side == 0]
    return exit_status(lambda: report(arguments))


def report(arguments: argparse.Namespace) -> int:
    """Fits the probes, prints the table and returns the exit status.

    Raises:
        ValueError, OSError: see `encoder_of`.
    """
    dataset = DRAWN[arguments.dataset]
    train, test = draw(dataset, "train", arguments.images), draw(dataset, "val", 300)
    text = text_embeddings(load_clip(arguments.clip), dataset.classes.names, "single")
    probe = Probe(dataset, text, train, test)
    print("| encoder | features | answer | all | seen | unseen | among unseen |")
    print("|---" * 7 + "|")
    for checkpoint in [None, *arguments.checkpoints]:
        backbone = encoder_of(dataset, arguments.clip, checkpoint)
        fits = backbone.trained_regions  # trained region tokens fit one number of regions alone
        for side in (0, *(side for side in arguments.sides if fits in (0, side * side))):
            (known, near), (asked, near_asked) = (
                features(backbone, part.images, side, prompts=checkpoint is not None)
                for part in (train, test)
            )
            sets = {"patch": (known, asked)}
            if side:
                label = f"region of {side}x{side}"
                sets = {
                    label: (near, near_asked),
                    f"patch, {label}": tuple(
                        np.concatenate(pair, axis=-1) for pair in ((known, near), (asked, near_asked))
                    ),
                }
            for name, (fit, ask) in sets.items():
                fit, ask = fit[train.filled], ask[test.filled]
                answers = {"words": probe.words(fit, ask), "all classes": probe.all_classes(fit, ask)}
                if "," not in name:
                    answers = {"zero-shot": probe.zero_shot(ask), **answers}
                for answer, cells in answers.items():
                    print(f"| {checkpoint or 'CLIP'} | {name} | {answer} | {cells} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
