"""Front of the sums of focal and dice losses: checks, dispatch, and the `jt.Function` around the kernel."""

from typing import NamedTuple

from jseg.ops.checks import require_tensors
from jseg.ops.dispatch import include_headers, use_fused
from jseg.ops.focal_dice.reference import focal_dice_reference
from jseg.runtime.backend import jt

_HEADERS = ("simd.h", "bilinear_cpu.h", "focal_dice/focal_dice_cpu.h")

_PROBLEM = """
    jseg_focal_dice::Problem problem{in0_shape0, in0_shape1, in0_shape2, in0_shape3, in1_shape1, in1_shape2};
"""
_FORWARD = _PROBLEM + "jseg_focal_dice::forward(problem, in0_p, in1_p, out0_p);"
_BACKWARD = _PROBLEM + "jseg_focal_dice::backward(problem, in0_p, in1_p, in2_p, out0_p);"


class Sums(NamedTuple):
    """Of each image and class, (B, C) float32, with p the sigmoid of the logit of a pixel, and t = 1 where
    the pixel has the class, else 0.

    Attributes:
        focal: mean over pixels of the sigmoid focal loss, α 0.25 and γ 2 (Lin et al. 2017). Pixels without a
            class are negatives.
        overlap: Σ p·t.
        size: Σ p.
        labelled: Σ t, without gradient.
    """

    focal: jt.Var
    overlap: jt.Var
    size: jt.Var
    labelled: jt.Var


def focal_dice(logits: jt.Var, label: jt.Var) -> Sums:
    """Resizes maps of logits bilinearly to the size of the label, and sums over its pixels.

    Needs no array of the full size, in either direction. Sums are exact to float32 rounding, however many
    pixels there are.

    Args:
        logits: (B, C, h, w) float32.
        label: (B, H, W) int32; values outside 0..C-1 are pixels without a class.

    Returns:
        The sums; differentiable in the logits.

    Raises:
        ValueError: if shapes or types do not match; the message names them.
        TypeError: if an input is not a Jittor tensor.
    """
    require_tensors("focal_dice", logits, label)
    if logits.ndim != 4 or label.ndim != 3 or logits.shape[0] != label.shape[0] or label.dtype != "int32":
        raise ValueError(
            "focal_dice expects logits (B, C, h, w) and label (B, H, W) int32; got "
            f"{list(logits.shape)} and {list(label.shape)} {label.dtype}"
        )
    if not use_fused(logits) or 0 in logits.shape or 0 in label.shape:
        return Sums(*focal_dice_reference(logits, label))
    sums = _FusedSums()(logits, label)
    return Sums(sums[:, :, 0], sums[:, :, 1], sums[:, :, 2], sums[:, :, 3].detach())


class _FusedSums(jt.Function):
    """(B, C, 4); keeps its inputs alone, and computes the pixels again in the backward pass."""

    def execute(self, logits: jt.Var, label: jt.Var) -> jt.Var:
        self.saved = (logits, label)
        return jt.code(
            [logits.shape[0], logits.shape[1], 4],
            "float32",
            [logits, label],
            cpu_header=include_headers(*_HEADERS),
            cpu_src=_FORWARD,
        )

    def grad(self, grad_output: jt.Var) -> tuple[jt.Var, None]:
        logits, label = self.saved
        gradient = jt.code(
            logits.shape,
            "float32",
            [logits, label, grad_output],
            cpu_header=include_headers(*_HEADERS),
            cpu_src=_BACKWARD,
        )
        return gradient, None
