"""Plain Jittor sums, which document the fused kernel and replace it where it does not apply."""

from jseg.ops.basic import resize_bilinear
from jseg.runtime.backend import jt

FOCAL_ALPHA = 0.25


def focal_dice_reference(logits: jt.Var, label: jt.Var) -> tuple[jt.Var, jt.Var, jt.Var, jt.Var]:
    """The sums of `focal_dice`, from maps at the size of the label."""
    logits = resize_bilinear(logits, (label.shape[1], label.shape[2]))
    target = one_hot_label(label, logits.shape[1])
    probability = logits.sigmoid()
    return (
        _focal_loss(logits, probability, target).mean(3).mean(2),
        _pixel_sum(probability * target),
        _pixel_sum(probability),
        _pixel_sum(target).detach(),
    )


def one_hot_label(label: jt.Var, num_classes: int) -> jt.Var:
    """(B, H, W) integer label -> (B, C, H, W) float 0/1; a value outside 0..C-1 (ignore) gives all zeros."""
    classes = jt.arange(num_classes).int32().reshape(1, num_classes, 1, 1)
    return (label.int32().unsqueeze(1) == classes).float32()


def _focal_loss(logits: jt.Var, probability: jt.Var, target: jt.Var) -> jt.Var:
    # softplus(±x) in the form that neither overflows nor cancels.
    softplus_pos = logits.maximum(0) + (1 + (-logits.abs()).exp()).log()
    softplus_neg = softplus_pos - logits
    miss = 1 - probability
    positive = FOCAL_ALPHA * miss * miss * softplus_neg
    negative = (1 - FOCAL_ALPHA) * probability * probability * softplus_pos
    return target * positive + (1 - target) * negative


def _pixel_sum(x: jt.Var) -> jt.Var:
    # Row by row: one float32 sum over all pixels would lose the last digits.
    return x.sum(3).sum(2)
