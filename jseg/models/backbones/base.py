"""The contract between an image encoder and its segmentor."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from jseg.registry import Registry
from jseg.runtime.backend import jt, nn


@dataclass(frozen=True)
class ImageFeatures:
    """Features in CLIP's joint space, each vector of unit length.

    image: (B, N, d), patches row-major. global_feature: (B, d), from CLS. regions: (B, M, d) or None.
    grid: (h, w) of the patches. region_grid: (mh, mw), (0, 0) without regions.
    """

    image: jt.Var
    global_feature: jt.Var
    regions: jt.Var | None
    grid: tuple[int, int]
    region_grid: tuple[int, int]


class Backbone(nn.Module):
    """CLIP's image encoder with the additions of a method.

    The segmentor passes `sizes` (`jseg.checkpoints.EncoderSizes`), `heads` (attention heads),
    `activation` (of the feed-forward parts) and `position_grid`, (h, w) of the position table in patches.

    Attributes:
        patch_size: side of a patch in pixels.
        position_grid: (h, w) of the position table; other grids are resized from it.
        num_regions: number M of region tokens, 0 for none.
    """

    patch_size: int
    position_grid: tuple[int, int]
    num_regions: int = 0

    @property
    def trains_regions(self) -> bool:
        """Whether region tokens are parameters, which fixes their number."""
        return False

    @abstractmethod
    def execute(self, image: jt.Var, training: bool = False, num_regions: int | None = None) -> ImageFeatures:
        """Encodes a batch.

        Args:
            image: (B, 3, H, W), H and W divisible by the patch size.
            training: apply dropout, if the module is in training mode.
            num_regions: a square number of regions, by default `num_regions`.

        Raises:
            ValueError: if the image size is not supported.
        """

    def region_features(
        self, image: jt.Var, original_clip: bool = False, num_regions: int | None = None
    ) -> ImageFeatures | None:
        """Features of an image by region, without dropout; None for encoders without regions.

        Args:
            image: (B, 3, H, W).
            original_clip: use CLIP as it was before training.
            num_regions: a square number of regions, by default `num_regions`.
        """
        return None

    @abstractmethod
    def load_clip(self, visual: Mapping[str, np.ndarray]) -> None:
        """Loads CLIP's image tower: name without `visual.` -> values. Its weights are frozen."""

    @abstractmethod
    def adopt_positions(self, table: np.ndarray, source: str) -> None:
        """Prepares for loading a position table (1 + h·w, D) of another, square grid.

        Raises:
            ValueError: if the table matches neither a square grid nor this one. The message names `source`.
        """

    @abstractmethod
    def freeze(self) -> None:
        """Disables gradients of CLIP's own weights, including replaced ones."""

    @abstractmethod
    def trainable_parameters(self) -> dict[str, jt.Var]:
        """Returns name -> parameter for all trained parameters."""

    def architecture(self) -> dict[str, Any]:
        """Returns values for fields of `CLIPRCArchitecture`, or none for encoders that it does not
        describe."""
        return {}


BACKBONES = Registry("backbone", Backbone, supplied=("sizes", "heads", "activation", "position_grid"))
