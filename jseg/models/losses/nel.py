"""Non-mutually exclusive loss (NEL): sigmoid focal loss plus dice over the classes that are present.

Paper, section 3.5; the normalisation is the releases' (MaskFormer's criterion with classes for masks).
"""

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
    # Row by row: one float32 sum over all pixels and classes would lose the last digits, and parts of a batch
    # would not add up to the whole.
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


def label_counts(label: jt.Var, num_classes: int) -> jt.Var:
    """(2,) float32: present (image, class) pairs, and labelled
    pixels, of a label (B, H, W) as in `nel_loss`."""
    target = one_hot_label(label, num_classes)
    pixels = target.sum(3).sum(2)
    return jt.stack([(pixels > 0).float32().sum(), pixels.sum()])


def nel_loss(
    logits: jt.Var, label: jt.Var, focal_weight: float, dice_weight: float, pairs: jt.Var | None = None
) -> dict[str, jt.Var]:
    """Weighted focal and dice terms, both divided by the number of present (image, class) pairs.

    Args:
        logits: (B, C, H, W) at the size of the label.
        label: (B, H, W) integers; values outside 0..C-1 are ignored.
        focal_weight, dice_weight: weights of the terms.
        pairs: () the divisor; by default the number in this batch, at least 1, so that an image of ignored
            pixels only is harmless. A batch that is spread over MPI ranks or accumulation steps needs the
            mean over all of them.

    Returns:
        {'loss_mask': (), 'loss_dice': ()}.
    """
    target = one_hot_label(label, logits.shape[1])
    present = (target.sum(3).sum(2) > 0).float32()
    if pairs is None:
        pairs = present.sum().maximum(1.0)
    pairs = pairs.detach()
    return {
        "loss_mask": focal_loss(logits, target) * focal_weight / pairs,
        "loss_dice": dice_loss(logits, target, present) * dice_weight / pairs,
    }


def pixel_accuracy(logits: jt.Var, label: jt.Var, pixels: jt.Var | None = None) -> jt.Var:
    """Percent of labelled pixels whose arg-max class is the label; 0 where no pixel is labelled. No gradient.

    Args:
        logits: (B, C, H, W).
        label: (B, H, W) integers; values outside 0..C-1 do not count.
        pixels: () the divisor; by default the labelled pixels of this batch, at least 1; compare `nel_loss`.
    """
    label = label.int32()
    prediction, _ = jt.argmax(logits.detach(), 1)
    labelled = (label >= 0).logical_and(label < logits.shape[1]).float32()
    correct = (prediction.int32() == label).float32() * labelled
    return 100 * correct.sum() / (labelled.sum().maximum(1.0) if pixels is None else pixels.detach())
