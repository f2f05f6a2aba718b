"""Segments images with words: the main interface of jseg.

from jseg import Segmenter
segmenter = Segmenter.from_checkpoint("work_dirs/run/checkpoints/iter_6000.safetensors")
result = segmenter.segment("photo.jpg", ["cat", "dog", "grass"])
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, overload

import numpy as np
from PIL import Image
from tqdm import tqdm

from jseg.files import PathLike
from jseg.inference.grid import grid_class_map, grid_copy
from jseg.inference.images import MAX_PIXELS, ImageLike, expand, read_rgb
from jseg.inference.loading import Loaded, load_clip_alone, load_segmentor
from jseg.inference.result import Result
from jseg.inference.softmax_map import softmax_map, softmax_scores
from jseg.inference.text import TextEncoder
from jseg.inference.windows import (
    ClassMap,
    Pass,
    WindowPlan,
    class_map,
    cut_windows,
    mean_scores,
    merge_regions,
    merge_windows,
)
from jseg.inference.words import Words, WordsLike
from jseg.models.backbones import ImageFeatures
from jseg.runtime.backend import jt

_MAX_WORDS = 65534  # 16 bits, and one value for "nothing"


class _Encoded(NamedTuple):
    """A scaled copy of an image: its windows, whether it is mirrored, and the features of batches of
    windows."""

    plan: WindowPlan
    mirrored: bool
    batches: list[Any]


class View:
    """An encoded image, which can be segmented with any words; see `Segmenter.encode`.

    Attributes:
        image: RGB uint8 (H, W, 3). path: the file, or None for an image in memory.
    """

    def __init__(
        self,
        segmenter: "Segmenter",
        image: np.ndarray,
        path: Path | None,
        copies: list[_Encoded],
        seconds: dict[str, float],
    ) -> None:
        self.image, self.path = image, path
        self._segmenter, self._copies, self._seconds = segmenter, copies, seconds

    @property
    def features(self) -> np.ndarray:
        """Returns a unit vector for each patch in the joint space of images and words, float32 (h, w, d).

        Raises:
            ValueError: if the image was split into windows, or the model has no patch features.
        """
        first = self._copies[0]
        if len(first.plan.positions) > 1:
            raise ValueError(
                f"the image was split into {len(first.plan.positions)} windows with separate features; "
                "resize it to at most the crop of the model, or use inference mode 'whole'"
            )
        found = first.batches[0]
        if not isinstance(found, ImageFeatures):
            raise ValueError(f"this model's features are of type {type(found).__name__}, not patch features")
        return found.image.numpy()[0].reshape(*found.grid, -1)

    @property
    def grid(self) -> tuple[int, int] | None:
        """The number of patches (h, w) of a window, or None if the model has no patch features."""
        found = self._copies[0].batches[0]
        return found.grid if isinstance(found, ImageFeatures) else None

    def scaled_to(self, image: np.ndarray) -> "View":
        """Returns a view of the same features whose masks have the size of `image`.

        Masks of a small copy of the image take less time.

        Args:
            image: RGB uint8 (h, w, 3), the same image at another size.
        """
        return View(self._segmenter, image, self.path, self._copies, self._seconds)

    def segment(
        self,
        words: WordsLike,
        background: str | Sequence[str] | None = None,
        threshold: float | None = None,
        seen_bias: float | None = None,
        keep_scores: bool = False,
    ) -> Result:
        """Segments the image; arguments as in `Segmenter.segment`."""
        start = time.perf_counter()
        asked = Words.parse(words)
        nothing_words = [background] if isinstance(background, str) else list(background or ())
        every = asked.with_background(nothing_words)
        if len(every.names) > _MAX_WORDS:
            raise ValueError(f"there are {len(every.names)} words, but at most {_MAX_WORDS} are supported")
        if threshold is not None and not 0 <= threshold <= 1:
            raise ValueError(f"threshold is {threshold}: it must be between 0 and 1")
        if seen_bias is not None and not np.isfinite(seen_bias):
            raise ValueError(f"seen_bias is {seen_bias}: it must be a number")
        segmenter, count = self._segmenter, len(asked.names)
        text = jt.array(segmenter.text_features(every))
        bias = segmenter._bias(every.names, seen_bias)
        size = (self.image.shape[0], self.image.shape[1])
        late = segmenter.model.late_softmax is not None
        several = len(every.phrases) > len(every.names)
        scores = None
        if segmenter.model.resizes_logits and not several and not keep_scores:
            found = self._grid_class_map(text, bias, size)
        else:
            passes = [
                Pass(merge_windows(self._scores(copy, text, every, bias), copy.plan), copy.mirrored)
                for copy in self._copies
            ]
            found = softmax_map(passes, size, every.owners) if late else class_map(passes, size)
            if keep_scores:
                scores = _all_scores(passes, size, every.owners if late else None)[:count]
        nothing = 255 if count <= 255 else 65535
        mask = found.mask.astype(np.uint8 if nothing == 255 else np.uint16)
        mask[found.mask >= count] = nothing
        if threshold is not None:
            mask[found.confidence < threshold] = nothing
        return Result(
            image=self.image,
            path=self.path,
            names=asked.names,
            mask=mask,
            nothing=nothing,
            confidence=np.clip(found.confidence, 0, 1).astype(np.float16),
            areas=np.bincount(mask.reshape(-1), minlength=nothing + 1)[:count],
            unseen=tuple(i for i, name in enumerate(asked.names) if name not in segmenter.seen),
            regions=self._regions(text, every, count),
            scores=scores,
            seconds={**self._seconds, "decode": time.perf_counter() - start},
        )

    def _grid_class_map(self, text: jt.Var, bias: np.ndarray, size: tuple[int, int]) -> ClassMap:
        """The class map of words of one phrase each, without scores of the full size."""
        model, copies = self._segmenter.model, []
        for copy in self._copies:
            logits = [model.decode(features, text) for features in copy.batches]
            copies.append(grid_copy(logits, copy.plan, copy.mirrored, model.patch_size))
        return grid_class_map(copies, size, jt.array(bias))

    def _scores(self, copy: _Encoded, text: jt.Var, words: Words, bias: np.ndarray) -> Iterator[np.ndarray]:
        """Yields scores float32 (C, *crop) of each window: the maximum over the phrases of a word, minus the
        bias. For models with `late_softmax`, yields the logits (P, *crop) of all phrases.
        """
        model, starts = self._segmenter.model, np.searchsorted(words.owners, range(len(words.names)))
        for features in copy.batches:
            phrases = model.window_scores(features, text, copy.plan.crop).numpy()
            if model.late_softmax is not None:
                yield from phrases
                continue
            several = phrases.shape[1] > len(words.names)
            scores = np.maximum.reduceat(phrases, starts, axis=1) if several else phrases
            yield from scores - bias[:, None, None]

    def _regions(self, text: jt.Var, words: Words, count: int) -> np.ndarray | None:
        first, starts = self._copies[0], np.searchsorted(words.owners, range(len(words.names)))
        windows: list[np.ndarray] = []
        for features in first.batches:
            scores = self._segmenter.model.region_scores(features, text)
            if scores is None:
                return None
            windows.extend(np.maximum.reduceat(scores.numpy(), starts, axis=1)[:, :count])
        return merge_regions(windows, first.plan)


def _all_scores(passes: Sequence[Pass], size: tuple[int, int], owners: Sequence[int] | None) -> np.ndarray:
    """float32 (C, H, W); `owners` of the phrases where the softmax comes last."""
    return mean_scores(passes, size) if owners is None else softmax_scores(passes, size, owners)


class Segmenter:
    """A model that segments any image with any words.

    Args:
        loaded: see `jseg.inference.loading`; created by `Segmenter.from_checkpoint`.
        batch_size: number of windows of an image that are encoded together.
        max_pixels: larger images are refused.

    Attributes:
        model: the segmentor.
        class_names: class words of the run that trained it; empty if unknown.
        seen: words with masks in training.
        seen_bias: by how much their scores are lowered by default.
        text_encoder: maps phrases to vectors.
    """

    def __init__(self, loaded: Loaded, batch_size: int = 1, max_pixels: int = MAX_PIXELS) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}: it must be at least 1")
        self.model, self.recipe, self.class_names = loaded.model, loaded.recipe, loaded.class_names
        self.seen = frozenset(
            name for index, name in enumerate(loaded.class_names) if index not in loaded.unseen
        )
        self.seen_bias = loaded.seen_bias
        self.text_encoder = TextEncoder(loaded.clip, loaded.templates)
        self._batch_size, self._max_pixels = batch_size, max_pixels

    @classmethod
    def from_checkpoint(
        cls,
        checkpoint: PathLike,
        clip: PathLike | None = None,
        config: PathLike | None = None,
        batch_size: int = 1,
        max_pixels: int = MAX_PIXELS,
    ) -> "Segmenter":
        """Loads a model.

        Args:
            checkpoint: checkpoint of a jseg run (a file, or the pointers `latest` and `best`), or a released
                or converted one, which also needs `config`.
            clip: the CLIP weights it was trained on; by default the path in its config.
            config: the config file; by default the one inside the checkpoint.
            batch_size, max_pixels: see the class.

        Raises:
            FileNotFoundError, ValueError: if a file is missing, damaged, or does not match. The message gives
                advice.
        """
        return cls(load_segmentor(checkpoint, clip, config), batch_size, max_pixels)

    @classmethod
    def from_clip(
        cls,
        clip: PathLike,
        dense: str = "clearclip",
        short_side: int | None = None,
        batch_size: int = 1,
        max_pixels: int = MAX_PIXELS,
    ) -> "Segmenter":
        """Creates a training-free segmenter from CLIP's patch features (`jseg.models.segmentors.DenseCLIP`).

        Args:
            clip: CLIP weights in any format that jseg reads.
            dense: last block of the encoder, 'clearclip', 'sclip', 'maskclip' or 'vanilla'.
            short_side: short side of the resized images in pixels, and size of the windows, which overlap by
                half. By default 448, or the CLIP's resolution if that is below 224.
            batch_size, max_pixels: see the class.

        Raises:
            FileNotFoundError, ValueError: if the file is missing, damaged or not a CLIP, or an option is
                invalid.
        """
        return cls(load_clip_alone(clip, dense, short_side), batch_size, max_pixels)

    @overload
    def segment(
        self,
        images: ImageLike,
        words: WordsLike,
        background: str | Sequence[str] | None = ...,
        threshold: float | None = ...,
        seen_bias: float | None = ...,
        num_regions: int | None = ...,
        keep_scores: bool = ...,
    ) -> Result: ...

    @overload
    def segment(
        self,
        images: list[ImageLike] | tuple[ImageLike, ...],
        words: WordsLike,
        background: str | Sequence[str] | None = ...,
        threshold: float | None = ...,
        seen_bias: float | None = ...,
        num_regions: int | None = ...,
        keep_scores: bool = ...,
    ) -> list[Result]: ...

    def segment(
        self,
        images: ImageLike | list[ImageLike] | tuple[ImageLike, ...],
        words: WordsLike,
        background: str | Sequence[str] | None = None,
        threshold: float | None = None,
        seen_bias: float | None = None,
        num_regions: int | None = None,
        keep_scores: bool = False,
    ) -> Result | list[Result]:
        """Segments one image into a `Result`, or a list of images into a list in the same order.

        Args:
            images: a path, a Pillow image or a uint8 array, or a list of these.
            words: ["cat", "dog"], "cat, dog|puppy" or {"person": ["person", "man in a shirt"]}; see
                `jseg.inference.words.Words.parse`. Their order is kept.
            background: words that mean "nothing". Where they fit best, the mask is `Result.nothing`.
            threshold: pixels whose best score (0 to 1) is lower are also `Result.nothing`.
            seen_bias: subtracted from the scores of words with masks in training, so that others are found;
                by default as in the evaluation of the run.
            num_regions: a square number of region tokens, by default that of the model.
            keep_scores: keep the scores of all words: C x H x W values.

        Raises:
            FileNotFoundError, ValueError: if an image or a word cannot be used. The message says which and
                why.
        """

        def one(image: ImageLike) -> Result:
            view = self.encode(image, num_regions)
            return view.segment(words, background, threshold, seen_bias, keep_scores)

        return [one(image) for image in images] if isinstance(images, (list, tuple)) else one(images)

    def stream(
        self,
        images: ImageLike | Iterable[ImageLike],
        words: WordsLike,
        progress: bool = False,
        num_regions: int | None = None,
        **options: Any,
    ) -> Iterator[Result]:
        """Segments many images one after the other, with constant memory.

        Args:
            images: paths, folders, patterns such as "photos/*.jpg", Pillow images or arrays.
            words: see `segment`.
            progress: show a progress bar.
            options: `background`, `threshold`, `seen_bias`, `keep_scores`, as in `segment`.

        Yields:
            A result for each image, in order.
        """
        found = list(expand(images))
        for image in tqdm(found, unit="image", disable=not progress):
            yield self.encode(image, num_regions).segment(words, **options)

    def encode(
        self, image: ImageLike, num_regions: int | None = None, on_batch: Callable[[], None] | None = None
    ) -> View:
        """Runs the image encoder, which takes most of the time. The view can then be segmented with any
        words.

        Args:
            image: a path, a Pillow image or a uint8 array; RGB, grey or RGBA.
            num_regions: a square number of region tokens, by default that of the model.
            on_batch: called before each batch of windows. It may raise an exception to stop.

        Raises:
            FileNotFoundError, ValueError: if the image cannot be used. The message says why.
        """
        start = time.perf_counter()
        path = None if isinstance(image, (np.ndarray, Image.Image)) else Path(image)
        pixels = read_rgb(image, self._max_pixels)
        prepared = self.recipe.prepare(pixels)
        middle = time.perf_counter()
        copies = [
            _Encoded(plan, mirrored, list(self._encode(copy, plan, num_regions, on_batch)))
            for copy, plan, mirrored in self.recipe.copies(prepared)
        ]
        jt.sync_all()
        seconds = {"read": middle - start, "encode": time.perf_counter() - middle}
        return View(self, pixels, path, copies, seconds)

    def _encode(
        self,
        image: np.ndarray,
        plan: WindowPlan,
        num_regions: int | None,
        on_batch: Callable[[], None] | None,
    ) -> Iterator[Any]:
        windows = list(cut_windows(image, plan))
        for start in range(0, len(windows), self._batch_size):
            if on_batch is not None:
                on_batch()
            batch = np.stack(windows[start : start + self._batch_size])
            yield self.model.encode(jt.array(batch), num_regions)

    def text_features(self, words: WordsLike | Words) -> np.ndarray:
        """Returns the unit vector of each phrase in the joint space of images and words, float32 (P, d)."""
        return self.text_encoder((words if isinstance(words, Words) else Words.parse(words)).phrases)

    def _bias(self, names: Sequence[str], seen_bias: float | None) -> np.ndarray:
        bias = self.seen_bias if seen_bias is None else seen_bias
        return np.array([bias if name in self.seen else 0.0 for name in names], np.float32)
