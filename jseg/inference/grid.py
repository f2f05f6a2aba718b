"""Class maps straight from logits on the patch grid, where scores are the sigmoid of resized logits."""

from collections.abc import Sequence

from jseg.inference.windows import ClassMap, WindowPlan
from jseg.ops import GridCopy, class_map
from jseg.runtime.backend import jt


def grid_copy(logits: Sequence[jt.Var], plan: WindowPlan, mirrored: bool) -> GridCopy:
    """The copy of one image whose windows have these logits.

    Args:
        logits: (n, C, h, w) of batches of windows, in the order of the plan.
    """
    windows = logits[0] if len(logits) == 1 else jt.concat(list(logits), 0)
    return GridCopy(windows.unsqueeze(0), plan.size, plan.crop, plan.positions, mirrored)


def grid_class_map(copies: Sequence[GridCopy], size: tuple[int, int], bias: jt.Var) -> ClassMap:
    """The mask and the confidence of one image, as `jseg.inference.windows.class_map` gives them."""
    mask, confidence = class_map(copies, size, bias)
    return ClassMap(mask[0].numpy(), confidence[0].numpy())
