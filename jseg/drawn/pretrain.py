"""Contrastive pretraining of a tiny CLIP on the images of a drawn dataset and their captions.

The model sees whole images and sentences, of all classes, but never a mask. This pretraining takes the place
of OpenAI's pretraining on web data.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from jseg.datasets.transforms import CLIP_MEAN, CLIP_STD
from jseg.drawn.captions import CAPTION_FORMS, caption, with_article
from jseg.drawn.dataset import DRAWN, DrawnDataset
from jseg.models.clip import CLIP, CLIPConfig, class_probabilities, text_embeddings, tokenize
from jseg.models.clip.templates import TEMPLATES
from jseg.models.state import arrays_of
from jseg.optim import AdamW, WarmupPoly
from jseg.progress import progress
from jseg.runtime.backend import jt, nn

# Above this scale, a few pairs would dominate (Radford et al., section 2.5).
_MAX_LOGIT_SCALE = math.log(100.0)


@dataclass(frozen=True)
class PretrainSettings:
    """Settings of a pretraining run, which determine its result."""

    iterations: int = 3000
    batch_size: int = 96
    learning_rate: float = 1e-3
    warmup_iterations: int = 200
    weight_decay: float = 0.05
    num_scenes: int = 20000  # drawn once; `DrawnDataset.augmented` makes several images of each
    single_object_share: float = 0.3  # share of scenes with one object; the others may hold several
    single_first: float = 0.0  # share of the iterations, the first ones, that only show single objects
    seed: int = 0
    dataset: str = "zeroshapes"  # a name in `DRAWN`


DEFAULTS: dict[str, PretrainSettings] = {
    "zeroshapes": PretrainSettings(),
    # Outlines are learned much faster from single objects first.
    "zerowords": PretrainSettings(
        dataset="zerowords", iterations=4000, num_scenes=12000, single_object_share=0.5, single_first=0.5
    ),
}
"""Name of a dataset -> the settings for its CLIP."""


class SceneBank:
    """Drawn scenes in memory, where the batch of iteration t depends only on (seed, t)."""

    def __init__(self, settings: PretrainSettings, size: int) -> None:
        self.settings, self.dataset = settings, DRAWN[settings.dataset]
        self.classes: list[tuple[int, ...]] = []
        images = []
        self._singles = int(settings.num_scenes * settings.single_object_share)
        for i in progress(range(settings.num_scenes), unit="scene", label="drawing"):
            scene = self.dataset.draw_for_pretraining(settings.seed, i, size, i < self._singles)
            images.append(scene.image)
            self.classes.append(scene.classes)
        self.images = np.stack(images)

    def batch(self, iteration: int) -> tuple[np.ndarray, list[str], np.ndarray]:
        """Returns the images and sentences of one iteration, and which sentence is true of which image.

        Returns:
            images: (B, 3, H, W) float32, normalised.
            sentences: 2·B sentences. The first B name some objects of their image. The others are similar
                and mostly wrong (`DrawnDataset.altered`).
            truth: (B, 2·B) bool, True where the sentence is true of the image.
        """
        rng = np.random.default_rng((self.settings.seed, iteration))
        early = iteration < self.settings.single_first * self.settings.iterations
        chosen = rng.integers(self._singles if early else len(self.images), size=self.settings.batch_size)
        images = self.dataset.augmented(rng, self.images[chosen])
        named = [some_of(rng, self.classes[index]) for index in chosen]
        named += [self.dataset.altered(rng, classes) for classes in named]
        names = self.dataset.classes.names
        shown = _object_counts([self.classes[index] for index in chosen], len(names))
        said = _object_counts(named, len(names))
        truth = (said[None, :, :] <= shown[:, None, :]).all(axis=2)
        return normalise_images(images), [caption(rng, classes, names) for classes in named], truth


def some_of(rng: np.random.Generator, classes: Sequence[int]) -> tuple[int, ...]:
    """Returns one of the objects half of the time, and any number of them otherwise.

    Captions on the web rarely name everything in an image.
    """
    count = 1 if rng.random() < 0.5 else int(rng.integers(1, len(classes) + 1))
    return tuple(int(c) for c in rng.choice(np.array(classes), size=count, replace=False))


def _object_counts(scenes: Sequence[Sequence[int]], num_classes: int) -> np.ndarray:
    """Counts how often each class occurs, as an array (len(scenes), num_classes)."""
    return np.stack([np.bincount(classes, minlength=num_classes) for classes in scenes])


def normalise_images(images: np.ndarray) -> np.ndarray:
    """Converts (B, H, W, 3) uint8 to (B, 3, H, W) float32, normalised with CLIP's mean and std."""
    mean, std = np.array(CLIP_MEAN, np.float32), np.array(CLIP_STD, np.float32)
    scaled = (images.astype(np.float32) - mean) / std
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


class Vocabulary:
    """The few tokens that captions use, renumbered from 0 in their order.

    Training a table of 49,408 rows, of which only a hundred are ever read, would cost more than the rest of
    the model. The order is kept because the end token is found as the largest id.
    """

    def __init__(self, context_length: int, class_names: Sequence[str]) -> None:
        objects = [with_article(name) for name in class_names]
        phrases = [form.format(f"{each} and {each}") for form in CAPTION_FORMS for each in objects]
        phrases += [
            form.format(name) for forms in TEMPLATES.values() for form in forms for name in class_names
        ]
        self.context_length = context_length
        self.ids = np.unique(np.append(tokenize(phrases, context_length), 0))

    def compact(self, texts: Sequence[str]) -> np.ndarray:
        """Returns the token ids (len(texts), context_length) of texts in the small table."""
        return np.searchsorted(self.ids, tokenize(texts, self.context_length)).astype(np.int32)

    def expand(self, arrays: Mapping[str, np.ndarray], vocab_size: int) -> dict[str, np.ndarray]:
        """Returns the arrays of a model with the full table, where rows of other tokens are zero."""
        table = np.zeros((vocab_size, arrays["token_embedding.weight"].shape[1]), np.float32)
        table[self.ids] = arrays["token_embedding.weight"]
        return {**arrays, "token_embedding.weight": table}


def contrastive_loss(clip: CLIP, images: jt.Var, tokens: np.ndarray, truth: np.ndarray) -> jt.Var:
    """Computes CLIP's symmetric cross-entropy, where every sentence that is true of an image is a match.

    With twenty classes, objects repeat within a batch, and treating a second "red ring" as a mismatch would
    teach noise. Each image chooses among all sentences, including the wrong ones. Each true sentence chooses
    among the images.

    Args:
        images: (B, 3, H, W).
        tokens: (T, context_length) with T ≥ B. Sentence i < B was written for image i.
        truth: (B, T) bool, at least one true entry in each row and in each of the first B columns.
    """
    batch = images.shape[0]
    match = truth.astype(np.float32)
    per_image, per_text = clip(images, tokens)
    losses = ((per_image, match), (per_text[:batch], match[:, :batch].T))
    shares = (jt.array(target / target.sum(axis=1, keepdims=True)) for _, target in losses)
    return sum(
        -0.5 * (share * nn.log_softmax(logits, dim=1)).sum(1).mean()
        for share, (logits, _) in zip(shares, losses)
    )


def pretrain(
    config: CLIPConfig,
    settings: PretrainSettings,
    log: Callable[[str], None],
    save: Callable[[dict[str, np.ndarray]], None],
    evaluate_every: int = 500,
) -> None:
    """Trains a CLIP from random weights.

    Args:
        config: sizes of the model. `vocab_size` is that of the saved token table.
        settings: settings of the run.
        log: receives progress lines.
        save: receives the parameters under OpenAI's names after every evaluation.
        evaluate_every: iterations between zero-shot evaluations on the validation split.
    """
    jt.set_global_seed(settings.seed)
    dataset = DRAWN[settings.dataset]
    vocabulary = Vocabulary(config.context_length, dataset.classes.names)
    clip = CLIP(CLIPConfig(**{**vars(config), "vocab_size": len(vocabulary.ids)}))
    parameters = dict(clip.named_parameters())
    optimizer = AdamW(
        parameters,
        lr=settings.learning_rate,
        weight_decay=settings.weight_decay,
        betas=(0.9, 0.98),
        decay_mult={name: 0.0 for name in parameters if parameters[name].ndim < 2},
    )
    schedule = WarmupPoly(settings.iterations, power=1.0, min_lr=0.0, warmup_iters=settings.warmup_iterations)
    bank = SceneBank(settings, config.image_resolution)
    started = time.time()
    for iteration in range(settings.iterations):
        images, texts, truth = bank.batch(iteration)
        loss = contrastive_loss(clip, jt.array(images), vocabulary.compact(texts), truth)
        optimizer.step(loss, partial(schedule, iteration=iteration))
        clip.logit_scale.update(clip.logit_scale.minimum(_MAX_LOGIT_SCALE))
        jt.sync_all()
        if (iteration + 1) % 50 == 0:
            rate = (iteration + 1) / (time.time() - started)
            log(
                f"iter {iteration + 1}/{settings.iterations} loss {float(loss.item()):.4f} "
                f"{rate:.2f} it/s eta {(settings.iterations - iteration - 1) / rate / 60:.1f} min"
            )
        if (iteration + 1) % evaluate_every == 0 or iteration + 1 == settings.iterations:
            accuracy = zero_shot_accuracy(clip, dataset, settings.seed, vocabulary.compact)
            shares = ", ".join(f"{key} {value:.1f} %" for key, value in accuracy.items())
            log(f"iter {iteration + 1} zero-shot {shares}")
            save(vocabulary.expand(arrays_of(clip), config.vocab_size))


def zero_shot_accuracy(
    clip: CLIP,
    dataset: DrawnDataset,
    seed: int,
    tokenizer: Callable | None = None,
    count: int = 400,
    split: str = "val",
) -> dict[str, float]:
    """Measures zero-shot accuracy in percent on single-object images of a split that was not trained on.

    Returns:
        `class`: accuracy over all classes.
        `seen`, `unseen`: accuracy on images of seen and unseen classes, among all classes.
        The names of `dataset.parts`: share of images where that part of the predicted class is right.
    """
    size = clip.config.image_resolution
    scenes = [dataset.draw_single(seed, split, i, size) for i in range(count)]
    truth = np.array([scene.classes[0] for scene in scenes])
    text = text_embeddings(clip, dataset.classes.names, "single", tokenizer=tokenizer)
    images = normalise_images(np.stack([scene.image for scene in scenes]))
    predicted = np.concatenate(
        [
            class_probabilities(clip, jt.array(images[i : i + 100]), text).argmax(1)
            for i in range(0, count, 100)
        ]
    )
    right = predicted == truth
    unseen = np.isin(truth, dataset.classes.unseen)
    hits = {"class": right, "seen": right[~unseen], "unseen": right[unseen]}
    for name, groups in dataset.parts.items():
        hits[name] = np.array(groups)[predicted] == np.array(groups)[truth]
    return {name: 100.0 * float(values.mean()) for name, values in hits.items()}
