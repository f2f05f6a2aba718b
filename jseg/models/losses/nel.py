"""Non-mutually exclusive loss (NEL): sigmoid focal loss plus dice over the classes that are present.

Paper, section 3.5; the normalisation is the releases' (MaskFormer's criterion with classes for masks).
"""

from jseg.models.losses.base import LOSSES, Loss
from jseg.runtime.backend import jt

FOCAL_ALPHA = 0.25
DICE_SMOOTH = 1.0


def one_hot_label(label: jt.Var, num_classes: int) -> jt.Var:
    """(B, H, W) integer label -> (B, C, H, W) float 0/1; a value outside 0..C-1 (ignore) gives all zeros."""
    classes = jt.arange(num_classes).int32().reshape(1, num_classes, 1, 1)
    return (label.int32().unsqueeze(1) == classes).float32()


def focal_loss(logits: jt.Var, target: jt.Var) -> jt.Var:
    """Sigmoid focal loss (α 0.25, γ 2), mean over pixels, summed over images and class maps.

    Args:
        logits: (B, C, H, W).
        target: (B, C, H, W) 0/1. Ignored pixels are 0 everywhere: negatives of every class, as released.
    """
    # softplus(±x) in the form that neither overflows nor cancels.
    tail = (1 + (-logits.abs()).exp()).log()
    softplus_pos = logits.maximum(0) + tail
    softplus_neg = softplus_pos - logits
    probability = logits.sigmoid()
    miss = 1 - probability
    positive = FOCAL_ALPHA * miss * miss * softplus_neg
    negative = (1 - FOCAL_ALPHA) * probability * probability * softplus_pos
    loss = target * positive + (1 - target) * negative
    # Row by row, since a single float32 sum over all pixels and classes would lose digits, and parts of a
    # batch would not add up to the whole.
    return loss.mean(3).mean(2).sum()


def dice_loss(logits: jt.Var, target: jt.Var, present: jt.Var) -> jt.Var:
    """1 - (2·Σp·t + 1) / (Σp + Σt + 1) summed over the present (image, class) pairs.

    Args:
        logits, target: (B, C, H, W) as in `focal_loss`; Σ runs over all pixels.
        present: (B, C) 0/1, classes with at least one labelled pixel.
    """
    probability = logits.sigmoid()
    overlap = (probability * target).sum(3).sum(2)
    size = probability.sum(3).sum(2) + target.sum(3).sum(2)
    dice = 1 - (2 * overlap + DICE_SMOOTH) / (size + DICE_SMOOTH)
    return (dice * present).sum()


@LOSSES.register()
class NELLoss(Loss):
    """Weighted focal and dice terms, both divided by the number of present (image, class) pairs.

    Args:
        focal_weight, dice_weight: weights of the terms.

    Raises:
        ValueError: if a weight is negative.
    """

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
        target = one_hot_label(label, logits.shape[1])
        present = (target.sum(3).sum(2) > 0).float32()
        pairs = present.sum().maximum(1.0) if divisors is None else divisors[0]
        pairs = pairs.detach()
        return {
            "loss_mask": focal_loss(logits, target) * self.focal_weight / pairs,
            "loss_dice": dice_loss(logits, target, present) * self.dice_weight / pairs,
        }

    def divisors(self, label: jt.Var, num_classes: int) -> jt.Var:
        """(1,) float32: present (image, class) pairs."""
        target = one_hot_label(label, num_classes)
        return (target.sum(3).sum(2) > 0).float32().sum().reshape(1)
