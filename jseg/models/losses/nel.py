"""Non-mutually exclusive loss (NEL): sigmoid focal loss plus dice over the classes that are present.

Paper, section 3.5; the normalisation is the releases' (MaskFormer's criterion with classes for masks).
"""

from typing import ClassVar

from jseg.models.losses.base import LOSSES, Loss
from jseg.ops import focal_dice
from jseg.runtime.backend import jt

DICE_SMOOTH = 1.0


def present_pairs(label: jt.Var, num_classes: int) -> jt.Var:
    """() float32: (image, class) pairs with at least one labelled pixel."""
    # Counts need no gradient, and maps of one value each make their resizing cheap.
    maps = jt.zeros((label.shape[0], num_classes, 1, 1))
    return (focal_dice(maps, label.int32()).labelled > 0).float32().sum()


@LOSSES.register()
class NELLoss(Loss):
    """Weighted focal and dice terms, both divided by the number of present (image, class) pairs.

    The focal loss (α 0.25, γ 2) is a mean over pixels, summed over images and classes; ignored pixels are
    negatives of every class, as released. The dice loss is 1 - (2·Σp·t + 1) / (Σp + Σt + 1), summed over the
    present pairs; Σ runs over all pixels.

    Args:
        focal_weight, dice_weight: weights of the terms.

    Raises:
        ValueError: if a weight is negative.
    """

    resizes: ClassVar[bool] = True

    def __init__(self, focal_weight: float = 100.0, dice_weight: float = 1.0) -> None:
        for name, weight in (("focal_weight", focal_weight), ("dice_weight", dice_weight)):
            if weight < 0:
                raise ValueError(f"{name} is {weight}: it must be at least 0")
        self.focal_weight, self.dice_weight = focal_weight, dice_weight

    def __call__(self, logits: jt.Var, label: jt.Var, divisors: jt.Var | None = None) -> dict[str, jt.Var]:
        """See `Loss.__call__`; the terms are `loss_mask` (focal) and `loss_dice`.

        Without `divisors`, the terms are divided by the number of pairs in this batch, at least 1, so that a
        batch of only ignored pixels does not fail.
        """
        sums = focal_dice(logits, label.int32())
        present = (sums.labelled > 0).float32()
        pairs = present.sum().maximum(1.0) if divisors is None else divisors[0]
        pairs = pairs.detach()
        dice = 1 - (2 * sums.overlap + DICE_SMOOTH) / (sums.size + sums.labelled + DICE_SMOOTH)
        return {
            "loss_mask": _total(sums.focal) * self.focal_weight / pairs,
            "loss_dice": _total(dice * present) * self.dice_weight / pairs,
        }

    def divisors(self, label: jt.Var, num_classes: int) -> jt.Var:
        """(1,) float32: present (image, class) pairs."""
        return present_pairs(label, num_classes).reshape(1)


def _total(terms: jt.Var) -> jt.Var:
    # Image by image: parts of a batch then add up to the whole, and few digits are lost.
    return terms.sum(1).sum(0)
