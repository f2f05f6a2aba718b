"""The contract between a segmentor and everything that trains, evaluates and applies it."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Generic, TypeVar

import numpy as np

from jseg.checkpoints import Architecture
from jseg.ops import resize_bilinear
from jseg.registry import Registry
from jseg.runtime.backend import jt, nn

Features = TypeVar("Features")
"""What the encoder of a segmentor returns and its decoder takes."""


class Segmentor(nn.Module, Generic[Features]):
    """Images and class words in, class maps or losses out.

    The runner builds it from the config with `class_names` and `unseen` of the data set offered, and
    `image_size`. B images of H x W pixels, C classes of which C' take part in training.
    """

    @property
    def num_regions(self) -> int:
        """M, regions that `region_probabilities` tells apart; 0 for models without regions."""
        return 0

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels: sides of images are filled up to multiples of it. 1 without patches."""
        return 1

    @property
    def trains_regions(self) -> bool:
        """Whether regions have parameters, which fixes their number."""
        return False

    @abstractmethod
    def loss(self, image: jt.Var, label: jt.Var, divisors: jt.Var | None = None) -> dict[str, jt.Var]:
        """Loss terms of a batch.

        Args:
            image: (B, 3, H, W) normalised RGB.
            label: (B, H, W) integers in the numbering of the data set, at the size of the image.
            divisors: for a batch that is one part of a larger one: the means of `divisors` over all parts, so
                that the mean of the terms over the parts is the loss of the whole.

        Returns:
            name -> (); `total` is optimised, the others are logged.
        """

    def divisors(self, image: jt.Var, label: jt.Var) -> jt.Var | None:
        """(n,) numbers of this batch that terms of `loss` are divided by; no gradient.

        None where every term is a mean over images of equal size. Where a forward pass is needed for them, it
        uses the current random state, as `loss` will.
        """
        return None

    @abstractmethod
    def encode(self, image: jt.Var, num_regions: int | None = None) -> Features:
        """What `decode` takes. The words play no part in it. No dropout, no gradient.

        Args:
            image: (B, 3, H, W) normalised RGB.
            num_regions: a square number of regions, by default `num_regions`; models without regions ignore
                it.
        """

    @abstractmethod
    def decode(self, features: Features, text: jt.Var) -> jt.Var:
        """Logits of classes for encoded images.

        Args:
            features: of `encode`.
            text: (C, d) embeddings of the class words.

        Returns:
            (B, C, h, w) on the grid of the features.
        """

    def probabilities(self, features: Features, text: jt.Var, size: tuple[int, int]) -> jt.Var:
        """(B, C, *size) in 0..1 for any words, which the masks are made from; by default the sigmoid of the
        logits, resized. Arguments as in `decode`; `size` is that of the image in pixels."""
        with jt.no_grad():
            return resize_bilinear(self.decode(features, text), size).sigmoid()

    def region_scores(self, features: Features, text: jt.Var) -> jt.Var | None:
        """(B, C, m, m) probabilities over the words for each region; None without regions."""
        return None

    @abstractmethod
    def predict(self, image: jt.Var) -> jt.Var:
        """(B, 3, H, W) -> (B, C, H, W) scores of all classes: the largest is the prediction. No dropout."""

    def region_probabilities(
        self, image: jt.Var, original_clip: bool = False, num_regions: int | None = None
    ) -> jt.Var | None:
        """Classification of each region; None for models without regions.

        Args:
            image: (B, 3, H, W).
            original_clip: by the frozen encoder, as it was before training.
            num_regions: a square number of regions; by default `num_regions`.

        Returns:
            (B, C, m, m) probabilities over the classes.
        """
        return None

    @abstractmethod
    def trainable_parameters(self) -> dict[str, jt.Var]:
        """Name -> parameter, of all that training changes and checkpoints hold."""

    @abstractmethod
    def load_arrays(self, arrays: Mapping[str, np.ndarray], source: str = "the checkpoint") -> list[str]:
        """Loads all parameters, trained or not.

        Args:
            arrays: name -> values.
            source: what to call them in an error message, e.g. the file.

        Returns:
            Names that were ignored because nothing uses them.

        Raises:
            ValueError: parameters are missing, unknown or of another shape; names them.
        """

    def evaluates_released_weights(self) -> None:
        """Called after the weights of a release were loaded for evaluation, not for training. Models that
        treat a released model differently from their own override it."""
        return None

    @abstractmethod
    def architecture(self) -> Architecture:
        """The sizes and options that decide names, shapes and meaning of the parameters."""


MODELS = Registry("model", Segmentor, supplied=("class_names", "unseen", "image_size"))
