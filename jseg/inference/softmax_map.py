"""The class of each pixel for models whose logits are averaged over windows, and whose softmax comes last.

Source: the slide inference of SCLIP and ClearCLIP. Cosines of patches and words are averaged over the windows
and resized to the image. Then follow the scale, the softmax over all phrases, the maximum over the phrases of
a class, and the threshold of the background.
"""

from collections.abc import Sequence

import numpy as np

from jseg.inference.windows import ClassMap, Pass, mean_scores

_STRIP_VALUES = 4_000_000  # logits at full size that are in memory together; each is needed twice


def softmax_map(
    passes: Sequence[Pass],
    size: tuple[int, int],
    owners: Sequence[int],
    background: tuple[int, float] | None = None,
) -> ClassMap:
    """Mask and confidence, computed in strips of rows as `jseg.inference.windows.class_map` does.

    Args:
        passes: logits (P, h, w) of P phrases, of at least one copy of the image.
        size: (H, W) of the result.
        owners: for each phrase the index of its class. The score of a class is the maximum over its phrases.
        background: a class, and the score below which a pixel belongs to it whatever the best class.
    """
    height, width = size
    mask, confidence = np.empty(size, np.int32), np.empty(size, np.float32)
    classes = np.asarray(owners, np.int32)
    step = max(1, _STRIP_VALUES // (len(classes) * width))
    for start in range(0, height, step):
        rows = slice(start, min(start + step, height))
        logits = mean_scores(passes, size, rows)
        # The softmax keeps the order: the best class is that of the best phrase.
        best = logits.argmax(0)
        mask[rows] = classes[best]
        logits -= np.take_along_axis(logits, best[None], 0)
        np.exp(logits, out=logits)
        confidence[rows] = 1 / logits.sum(0)
    if background is not None:
        mask[confidence < background[1]] = background[0]
    return ClassMap(mask, confidence)


def softmax_scores(passes: Sequence[Pass], size: tuple[int, int], owners: Sequence[int]) -> np.ndarray:
    """float32 (C, H, W): the scores of all classes at full size; arguments as in `softmax_map`."""
    logits = mean_scores(passes, size)
    logits = np.exp(logits - logits.max(0))
    logits /= logits.sum(0)
    return np.maximum.reduceat(logits, np.searchsorted(owners, range(owners[-1] + 1)))
