"""Class maps straight from logits on the patch grid, where scores are the sigmoid of resized logits."""

from collections.abc import Sequence

from jseg.inference.windows import ClassMap, WindowPlan
from jseg.ops import GridCopy, class_map
from jseg.runtime.backend import jt


def grid_copy(logits: Sequence[jt.Var], plan: WindowPlan, mirrored: bool, patch: int) -> GridCopy:
    """The copy of one image whose windows have these logits.

    Args:
        logits: (n, C, h, w) of batches of windows, in the order of the plan.
        patch: side of a patch in pixels. Windows were filled up to whole patches.
    """
    windows = logits[0] if len(logits) == 1 else jt.concat(list(logits), 0)
    covered = (-(-plan.crop[0] // patch) * patch, -(-plan.crop[1] // patch) * patch)
    return GridCopy(windows.unsqueeze(0), plan.size, plan.crop, plan.positions, mirrored, covered)


def grid_class_map(copies: Sequence[GridCopy], size: tuple[int, int], bias: jt.Var) -> ClassMap:
    """The mask and the confidence of one image, as `jseg.inference.windows.class_map` gives them."""
    mask, confidence = class_map(copies, size, bias)
    return ClassMap(mask[0].numpy(), confidence[0].numpy())


def grid_mask(copies: Sequence[GridCopy], size: tuple[int, int], bias: jt.Var) -> jt.Var:
    """The mask of `grid_class_map` as uint8 (1, H, W), for at most 256 classes. It is launched, but on a GPU
    not waited for; nothing else needs to leave the device."""
    mask = class_map(copies, size, bias).mask.uint8()
    mask.sync()
    return mask
