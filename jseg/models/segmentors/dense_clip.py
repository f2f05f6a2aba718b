"""Training-free segmentation by comparing CLIP's patch features with class words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from jseg.checkpoints import Architecture
from jseg.models.backbones import ImageFeatures
from jseg.models.backbones.dense import DenseEncoder
from jseg.models.clip.model import StoredCLIP
from jseg.models.clip.templates import get_templates
from jseg.models.layers import fill_to_patches, filled_by_file
from jseg.models.segmentors.base import MODELS, LateSoftmax, Segmentor
from jseg.models.segmentors.text_cache import class_embeddings
from jseg.models.state import load_arrays_into
from jseg.names import did_you_mean
from jseg.ops import linear
from jseg.runtime.backend import jt, nn


@dataclass(frozen=True)
class DenseArchitecture(Architecture):
    """Architecture without trained parameters, so that checkpoints are empty."""

    type: ClassVar[str] = "DenseCLIP"

    dense: str = field(default="clearclip")


@MODELS.register()
class DenseCLIP(Segmentor[ImageFeatures]):
    """Softmax over the words of `logit_scale` times the cosine similarity of patch and word.

    The cosines are averaged over windows before the softmax, as in the releases of this line of work.

    Args:
        class_names: C class words.
        unseen: indices used only to group scores, since nothing is trained.
        clip: file of CLIP weights.
        dense: last block of the encoder, 'clearclip', 'sclip', 'maskclip' or 'vanilla'.
        positions: how positions are resized, 'bicubic' or 'bilinear'.
        templates: prompt templates, a name of `jseg.models.clip.templates.TEMPLATES` or a list with `{}`.
        logit_scale: scale of the softmax. It affects thresholds, but not the best word.
        phrases: class word -> the phrases that stand for it in place of the word; the score of a class is the
            maximum over its phrases.
        background: class word of what is in no other class; `threshold` belongs to it.
        threshold: pixels whose best class scores less, from 0 to 1, are background.

    Raises:
        ValueError: if an option is invalid. FileNotFoundError: if the weight file does not exist.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        unseen: Sequence[int],
        clip: str,
        dense: str = "clearclip",
        positions: str = "bicubic",
        templates: str | Sequence[str] = "imagenet80",
        logit_scale: float = 50.0,
        phrases: Mapping[str, Sequence[str]] | None = None,
        background: str | None = None,
        threshold: float = 0.0,
    ) -> None:
        super().__init__()
        if logit_scale <= 0:
            raise ValueError(f"logit_scale is {logit_scale}: it must be positive")
        spoken, self._late_softmax = _phrases(class_names, phrases or {}, background, threshold)
        words, source = get_templates(templates), StoredCLIP(clip)
        with filled_by_file():
            self.encoder = DenseEncoder(source.config, dense, positions)
        load_arrays_into(self.encoder, source.visual(), clip)
        self._text = jt.array(class_embeddings(source, spoken, words)).stop_grad()
        self._logit_scale = logit_scale
        for parameter in self.encoder.parameters():
            parameter.stop_grad()

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        return self.encoder.patch_size

    def loss(self, image: jt.Var, label: jt.Var, divisors: jt.Var | None = None) -> dict[str, jt.Var]:
        """Raises `ValueError`: this model is not trained."""
        raise ValueError("DenseCLIP has nothing to train; evaluate it with --task val")

    def encode(self, image: jt.Var, num_regions: int | None = None) -> ImageFeatures:
        """See `Segmentor.encode`."""
        with jt.no_grad():
            return self.encoder(fill_to_patches(image, self.patch_size))

    def decode(self, features: ImageFeatures, text: jt.Var) -> jt.Var:
        """(B, C, h, w) cosines times the scale; see `Segmentor.decode`."""
        with jt.no_grad():
            maps = jt.stack([linear(text, patches) for patches in features.image])
            return self._logit_scale * maps.reshape(maps.shape[0], maps.shape[1], *features.grid)

    def probabilities(self, features: ImageFeatures, text: jt.Var, size: tuple[int, int]) -> jt.Var:
        """Softmax over the words of the resized logits; see `Segmentor.probabilities`."""
        with jt.no_grad():
            return nn.softmax(self.window_scores(features, text, size), dim=1)

    def window_scores(self, features: ImageFeatures, text: jt.Var, size: tuple[int, int]) -> jt.Var:
        """(B, C, *size) logits; see `Segmentor.window_scores`."""
        with jt.no_grad():
            return self.to_pixels(self.decode(features, text), size)

    @property
    def late_softmax(self) -> LateSoftmax:
        """See `Segmentor.late_softmax`."""
        return self._late_softmax

    def predict(self, image: jt.Var) -> jt.Var:
        """(B, 3, H, W) -> (B, P, H, W) logits of the phrases; see `late_softmax`."""
        return self.window_scores(self.encode(image), self._text, (image.shape[2], image.shape[3]))

    def trainable_parameters(self) -> dict[str, jt.Var]:
        """None."""
        return {}

    def load_arrays(self, arrays: Mapping[str, np.ndarray], source: str = "the checkpoint") -> list[str]:
        """Raises `ValueError`: all weights are those of the CLIP."""
        raise ValueError(f"{source}: DenseCLIP does not use checkpoints; set model.clip to the CLIP weights")

    def architecture(self) -> DenseArchitecture:
        """See `Segmentor.architecture`."""
        return DenseArchitecture(self.encoder.dense)


def _phrases(
    class_names: Sequence[str],
    phrases: Mapping[str, Sequence[str]],
    background: str | None,
    threshold: float,
) -> tuple[list[str], LateSoftmax]:
    """All phrases in the order of the classes, and which class each of them stands for.

    Raises:
        ValueError: an option names no class, or a threshold makes no sense.
    """
    for option, named in (("phrases", tuple(phrases)), ("background", (background,) if background else ())):
        unknown = [name for name in named if name not in class_names]
        if unknown:
            raise ValueError(
                f"{option}: there is no class '{unknown[0]}'{did_you_mean(unknown[0], class_names)}"
            )
    empty = [name for name, spoken in phrases.items() if isinstance(spoken, str) or not spoken]
    if empty:
        raise ValueError(f"phrases: '{empty[0]}' needs a list of at least one phrase")
    if not 0 <= threshold <= 1 or (threshold and background is None):
        raise ValueError(
            f"threshold is {threshold}: it must be between 0 and 1, and needs a background class"
        )
    groups = [list(phrases.get(name, (name,))) for name in class_names]
    owners = tuple(index for index, group in enumerate(groups) for _ in group)
    ground = None if background is None else (list(class_names).index(background), threshold)
    return [phrase for group in groups for phrase in group], LateSoftmax(owners, ground)
