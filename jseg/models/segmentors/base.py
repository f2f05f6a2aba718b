"""The contract between a segmentor and the code that trains, evaluates and applies it."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from jseg.checkpoints import Architecture
from jseg.ops import resize_bilinear
from jseg.registry import Registry
from jseg.runtime.backend import jt, nn

Features = TypeVar("Features")
"""Output of a segmentor's encoder and input of its decoder."""


class GridScores(NamedTuple):
    """Scores before they are resized: sigmoid(resized logits) - bias is what `Segmentor.predict` returns.

    Attributes:
        logits: (B, C, h, w). bias: (C,).
    """

    logits: jt.Var
    bias: jt.Var


class LateSoftmax(NamedTuple):
    """What turns logits of phrases, averaged over windows, into classes; see `jseg.inference.softmax_map`.

    owners: for each of the P phrases of `Segmentor.predict` its class. background: a class, and the score
    below which a pixel belongs to it; None without such a class.
    """

    owners: tuple[int, ...]
    background: tuple[int, float] | None = None


class Segmentor(nn.Module, Generic[Features]):
    """Maps images and class words to class maps or losses.

    The runner builds it from the config, `class_names` and `unseen` of the dataset, and `image_size`. Shapes:
    B images of H x W pixels, C classes of which C' are used in training.
    """

    @property
    def num_regions(self) -> int:
        """Number M of regions that `region_probabilities` classifies; 0 for models without regions."""
        return 0

    @property
    def patch_size(self) -> int:
        """Side length of a patch in pixels. Images are padded to multiples of it. 1 without patches."""
        return 1

    @property
    def resizes_logits(self) -> bool:
        """Whether scores are the sigmoid of the resized logits, so that class maps can be made from those."""
        own = type(self)
        return (
            own.probabilities is Segmentor.probabilities
            and own.to_pixels is Segmentor.to_pixels
            and own.window_scores is Segmentor.window_scores
        )

    @property
    def late_softmax(self) -> LateSoftmax | None:
        """For models whose softmax follows the average over windows: `window_scores` and `predict` then
        return logits of phrases. None where they return scores in 0..1."""
        return None

    @property
    def trains_regions(self) -> bool:
        """Whether regions have parameters, which fixes their number."""
        return False

    @abstractmethod
    def loss(self, image: jt.Var, label: jt.Var, divisors: jt.Var | None = None) -> dict[str, jt.Var]:
        """Loss terms of a batch.

        Args:
            image: (B, 3, H, W) normalised RGB.
            label: (B, H, W) class indices of the dataset, at the size of the image.
            divisors: if the batch is a part of a larger one, the means of `divisors` over all parts, so that
                the mean of the terms over the parts is the loss of the whole batch.

        Returns:
            name -> (); `total` is optimised, the others are logged.
        """

    def divisors(self, image: jt.Var, label: jt.Var) -> jt.Var | None:
        """Returns the numbers (n,) that terms of `loss` are divided by for this batch, without gradient.

        None if every term is a mean over images of equal size. If this needs a forward pass, it uses the
        current random state, as `loss` will.
        """
        return None

    @abstractmethod
    def encode(self, image: jt.Var, num_regions: int | None = None) -> Features:
        """Returns the input of `decode`, which does not depend on the words. No dropout, no gradient.

        Args:
            image: (B, 3, H, W) normalised RGB of any size; it is filled up to whole patches.
            num_regions: a square number of regions, by default `num_regions`; models without regions ignore
                it.
        """

    @abstractmethod
    def decode(self, features: Features, text: jt.Var) -> jt.Var:
        """Logits of classes for encoded images.

        Args:
            features: output of `encode`.
            text: (C, d) embeddings of the class words.

        Returns:
            (B, C, h, w) on the grid of the features.
        """

    def probabilities(self, features: Features, text: jt.Var, size: tuple[int, int]) -> jt.Var:
        """Returns scores (B, C, *size) in 0..1 for any words, from which masks are made. By default, the
        sigmoid of the resized logits. Arguments as in `decode`; `size` is the image size in pixels."""
        with jt.no_grad():
            return self.to_pixels(self.decode(features, text), size).sigmoid()

    def to_pixels(self, maps: jt.Var, size: tuple[int, int]) -> jt.Var:
        """(B, C, h, w) on the grid of the patches -> (B, C, *size). What the last patches cover beyond an
        image that was filled up is cut off."""
        patch = self.patch_size
        filled = (-(-size[0] // patch) * patch, -(-size[1] // patch) * patch)
        resized = resize_bilinear(maps, filled)
        return resized if filled == tuple(size) else resized[:, :, : size[0], : size[1]]

    def window_scores(self, features: Features, text: jt.Var, size: tuple[int, int]) -> jt.Var:
        """(B, C, *size): what is averaged over the windows of an image; by default `probabilities`."""
        return self.probabilities(features, text, size)

    def region_scores(self, features: Features, text: jt.Var) -> jt.Var | None:
        """(B, C, m, m) probabilities over the words for each region; None without regions."""
        return None

    @abstractmethod
    def predict(self, image: jt.Var) -> jt.Var:
        """(B, 3, H, W) -> (B, C, H, W) scores of all classes: the largest is the prediction. No dropout.

        With `late_softmax`: (B, P, H, W) logits of its phrases.
        """

    def predict_on_grid(self, image: jt.Var) -> GridScores | None:
        """What `predict` is made from, for callers that need class maps alone; None where a model makes its
        scores in another way. No dropout.

        Args:
            image: (B, 3, H, W).
        """
        return None

    def region_probabilities(
        self, image: jt.Var, original_clip: bool = False, num_regions: int | None = None
    ) -> jt.Var | None:
        """Classification of each region; None for models without regions.

        Args:
            image: (B, 3, H, W).
            original_clip: use the frozen encoder as it was before training.
            num_regions: a square number of regions; by default `num_regions`.

        Returns:
            (B, C, m, m) probabilities over the classes.
        """
        return None

    @abstractmethod
    def trainable_parameters(self) -> dict[str, jt.Var]:
        """Returns name -> parameter for all parameters that are trained and saved."""

    @abstractmethod
    def load_arrays(self, arrays: Mapping[str, np.ndarray], source: str = "the checkpoint") -> list[str]:
        """Loads all parameters, trained or not.

        Args:
            arrays: name -> values.
            source: name of their origin for error messages, e.g. the file.

        Returns:
            Names that were ignored because they are not used.

        Raises:
            ValueError: if parameters are missing, unknown or have other shapes. The message names them.
        """

    def evaluates_released_weights(self) -> None:
        """Called after a released model was loaded for evaluation, not for training; by default nothing
        changes."""

    @abstractmethod
    def architecture(self) -> Architecture:
        """Returns the sizes and options that determine names, shapes and meaning of the parameters."""


MODELS = Registry("model", Segmentor, supplied=("class_names", "unseen", "image_size"))
