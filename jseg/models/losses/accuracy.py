"""Pixel accuracy, which training logs with the losses."""

from jseg.ops import GridCopy, class_map, resize_bilinear
from jseg.ops.cuda import resizes_maps
from jseg.runtime.backend import jt


def labelled_pixels(label: jt.Var, num_classes: int) -> jt.Var:
    """(1,) float32: 1 + the pixels of a label (B, H, W) whose value is a class, 0..C-1.

    Divisors are raised to at least 1 over the whole batch. The added 1 keeps a batch without labelled pixels
    apart from one with a single labelled pixel.
    """
    return 1 + _is_class(label.int32(), num_classes).sum().reshape(1)


def pixel_accuracy(logits: jt.Var, label: jt.Var, pixels: jt.Var | None = None) -> jt.Var:
    """Percent of labelled pixels whose arg-max class is the label. No gradient.

    100 where no pixel of the whole batch is labelled, as mmsegmentation's accuracy gives.

    Args:
        logits: (B, C, h, w), resized to the label.
        label: (B, H, W) integers; values outside 0..C-1 do not count.
        pixels: () the mean of `labelled_pixels` over all parts, for a batch that is one part of a larger one.
    """
    label, size = label.int32(), (label.shape[1], label.shape[2])
    if resizes_maps(logits):
        copy = GridCopy(logits.detach().unsqueeze(1), size, size, [(0, 0)])
        prediction = class_map([copy], size, as_logits=True).mask
    else:
        prediction = jt.argmax(resize_bilinear(logits.detach(), size), 1)[0].int32()
    labelled = _is_class(label, logits.shape[1])
    correct = (prediction == label).float32() * labelled
    total = labelled.sum() if pixels is None else pixels.detach() - 1
    return 100 * (correct.sum() / total.maximum(1e-6) + (total <= 0).float32())


def _is_class(label: jt.Var, num_classes: int) -> jt.Var:
    return (label >= 0).logical_and(label < num_classes).float32()
