"""The contract of a segmentation loss."""

from abc import abstractmethod
from typing import ClassVar

from jseg.registry import Registry
from jseg.runtime.backend import jt


class Loss:
    """Weighted loss terms between maps of logits and a label.

    Attributes:
        resizes: whether the loss resizes the logits to the label itself. Otherwise it is given resized ones.
    """

    resizes: ClassVar[bool] = False

    @abstractmethod
    def __call__(self, logits: jt.Var, label: jt.Var, divisors: jt.Var | None = None) -> dict[str, jt.Var]:
        """The terms of a batch; their sum is minimised.

        Args:
            logits: (B, C, H, W) at the size of the label, or (B, C, h, w) of any size if the loss `resizes`.
            label: (B, H, W) integers; values outside 0..C-1 are ignored.
            divisors: for a batch that is one part of a larger one: the means of `divisors` over all parts.

        Returns:
            name -> ().
        """

    def divisors(self, label: jt.Var, num_classes: int) -> jt.Var | None:
        """(n,) numbers that the terms are divided by, counted in a label (B, H, W); None where every term is
        a mean over images of equal size."""
        return None


LOSSES = Registry("loss", Loss)
