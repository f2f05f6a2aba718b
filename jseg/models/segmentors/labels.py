"""Labels and class lists in each zero-shot setting (paper, section 4.3)."""

from collections.abc import Sequence

import numpy as np

from jseg.runtime.backend import jt

SETTINGS = ("inductive", "transductive", "full")
PSEUDO_LABELS = ("probabilities", "logits")
IGNORED = -1
"""Internal label of pixels without a class. Datasets use their own `ignore_index`."""


def split_classes(num_classes: int, unseen: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """(seen, unseen) class indices, each sorted.

    Raises:
        ValueError: if an index is outside 0..C-1 or repeated, or no seen class is left.
    """
    unseen = sorted(int(i) for i in unseen)
    if len(set(unseen)) != len(unseen) or any(not 0 <= i < num_classes for i in unseen):
        raise ValueError(
            f"unseen is {unseen}: it must list different indices of the {num_classes} classes, from 0 on"
        )
    seen = [i for i in range(num_classes) if i not in set(unseen)]
    if not seen:
        raise ValueError("unseen lists every class: at least one seen class is needed to train on")
    return np.array(seen, dtype=np.int32), np.array(unseen, dtype=np.int32)


def label_table(setting: str, seen: np.ndarray, unseen: np.ndarray, ignore_index: int) -> np.ndarray:
    """Lookup table from a dataset's labels to the labels of the loss.

    Inductive: seen classes are renumbered 0..S-1, unseen ones ignored. Full: unchanged.
    Transductive: seen classes unchanged, unseen ones become C (no class of the loss), to be replaced by a
    pseudo label.

    Args:
        setting: one of `SETTINGS`.
        seen, unseen: class indices.
        ignore_index: the dataset's label of ignored pixels, outside 0..C-1, 0..255.

    Returns:
        (256,) int32, with `IGNORED` for values that are not a class.
    """
    num_classes = len(seen) + len(unseen)
    if not num_classes <= ignore_index <= 255:
        raise ValueError(
            f"ignore_index is {ignore_index}: it must be outside the {num_classes} class "
            "indices and at most 255"
        )
    table = np.full(256, IGNORED, dtype=np.int32)
    if setting == "inductive":
        table[seen] = np.arange(len(seen))
    else:
        table[seen] = seen
        table[unseen] = num_classes if setting == "transductive" else unseen
    return table


def pseudo_label(logits: jt.Var, label: jt.Var, unseen: jt.Var, source: str = "probabilities") -> jt.Var:
    """Replaces label C (an unknown unseen class) by the predicted unseen class.

    Args:
        logits: (B, C, H, W), detached.
        label: (B, H, W) int32 labels of `label_table`.
        unseen: (U,) int32 class indices in ascending order, U ≥ 1.
        source: 'probabilities': the class with the highest sigmoid in float32, as in the releases. Large
            logits saturate, and the first of equal classes is taken. 'logits': the class with the highest
            logit.

    Returns:
        (B, H, W) int32.
    """
    scores = logits.detach()[:, unseen]
    if source == "probabilities":
        scores = scores.float32().sigmoid()
    best, _ = jt.argmax(scores, 1)
    return jt.ternary(label == logits.shape[1], unseen[best].int32(), label)
