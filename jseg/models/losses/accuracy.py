"""Pixel accuracy, which training logs with the losses."""

from jseg.runtime.backend import jt


def labelled_pixels(label: jt.Var, num_classes: int) -> jt.Var:
    """(1,) float32: pixels of a label (B, H, W) whose value is a class, 0..C-1."""
    return _is_class(label.int32(), num_classes).sum().reshape(1)


def pixel_accuracy(logits: jt.Var, label: jt.Var, pixels: jt.Var | None = None) -> jt.Var:
    """Percent of labelled pixels whose arg-max class is the label; 0 where no pixel is labelled. No gradient.

    Args:
        logits: (B, C, H, W).
        label: (B, H, W) integers; values outside 0..C-1 do not count.
        pixels: () the divisor; by default the labelled pixels of this batch, at least 1. A batch that is one
            part of a larger one needs the mean of `labelled_pixels` over all parts.
    """
    label = label.int32()
    prediction, _ = jt.argmax(logits.detach(), 1)
    labelled = _is_class(label, logits.shape[1])
    correct = (prediction.int32() == label).float32() * labelled
    return 100 * correct.sum() / (labelled.sum().maximum(1.0) if pixels is None else pixels.detach())


def _is_class(label: jt.Var, num_classes: int) -> jt.Var:
    return (label >= 0).logical_and(label < num_classes).float32()
