"""The contract between a decode head and its segmentor."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jseg.models.backbones.base import ImageFeatures
from jseg.registry import Registry
from jseg.runtime.backend import jt, nn


@dataclass(frozen=True)
class Decoded:
    """Output of a head for a batch.

    logits: (B, C, h, w) on the grid of the patches. terms: its own loss terms, name -> () Var, weighted;
    empty outside training.
    """

    logits: jt.Var
    terms: Mapping[str, jt.Var] = field(default_factory=dict)


class Head(nn.Module):
    """Maps image features and class words to one map of logits per class. All of its parameters are trained.

    The segmentor passes `width`, the joint width d of images and texts.
    """

    @property
    def needs_regions(self) -> bool:
        """Whether it requires the features of region tokens."""
        return False

    @abstractmethod
    def execute(self, features: ImageFeatures, text: jt.Var, training: bool = False) -> Decoded:
        """Decodes a batch.

        Args:
            features: output of the backbone.
            text: (C, d), L2-normalised.
            training: add the head's own loss terms, and apply dropout if the module is in training mode.
        """

    def architecture(self) -> dict[str, Any]:
        """Returns values for fields of `CLIPRCArchitecture`, or none for heads that it does not describe."""
        return {}


HEADS = Registry("decode head", Head, supplied=("width",))
