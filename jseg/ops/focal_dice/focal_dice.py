"""Front of the sums of focal and dice losses: checks, dispatch, and the `jt.Function` around the kernel."""

from typing import NamedTuple

from jseg.ops.checks import require_tensors
from jseg.ops.cuda import cuda_code, resizes_maps
from jseg.ops.dispatch import include_headers
from jseg.ops.focal_dice.reference import focal_dice_reference
from jseg.runtime.backend import jt

_HEADERS = ("simd.h", "bilinear_cpu.h", "focal_dice/focal_dice_cpu.h")

_PROBLEM = """
    jseg_focal_dice::Problem problem{in0_shape0, in0_shape1, in0_shape2, in0_shape3, in1_shape1, in1_shape2};
"""
_FORWARD = _PROBLEM + "jseg_focal_dice::forward(problem, in0_p, in1_p, out0_p);"
_BACKWARD = _PROBLEM + "jseg_focal_dice::backward(problem, in0_p, in1_p, in2_p, out0_p);"

_CUDA_HEADERS = ("bilinear_cuda.cuh", "focal_dice/focal_dice_cuda.cuh")
_CUDA_PROBLEM = """
    jseg_focal_dice_cuda::Problem problem{(int)in0_shape0, (int)in0_shape1, (int)in0_shape2, (int)in0_shape3,
                                          (int)in1_shape1, (int)in1_shape2, in0_p, in1_p};
"""
_CUDA_FORWARD = _CUDA_PROBLEM + "jseg_focal_dice_cuda::forward(problem, out0_p, out1_p);"
_CUDA_BACKWARD = _CUDA_PROBLEM + "jseg_focal_dice_cuda::backward(problem, in2_p, out0_p);"
_CUDA_TILE = (64, 32)
"""Rows and columns of pixels that a warp sums (kRows, kColumns)."""


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
    if not resizes_maps(logits) or 0 in logits.shape or 0 in label.shape or not _fits(logits, label):
        return Sums(*focal_dice_reference(logits, label))
    sums = _FusedSums()(logits, label)
    return Sums(sums[:, :, 0], sums[:, :, 1], sums[:, :, 2], sums[:, :, 3].detach())


def _fits(logits: jt.Var, label: jt.Var) -> bool:
    """Whether places of samples fit 32 bits, in which the CUDA kernel computes them."""
    return all(2 * logits.shape[axis + 1] * label.shape[axis] < 2**31 for axis in (1, 2))


class _FusedSums(jt.Function):
    """(B, C, 4); keeps its inputs alone, and computes the pixels again in the backward pass."""

    def execute(self, logits: jt.Var, label: jt.Var) -> jt.Var:
        self.saved = (logits, label)
        (images, classes, *_), (_, height, width) = logits.shape, label.shape
        shapes, cuda = [[images, classes, 4]], cuda_code(_CUDA_HEADERS, _CUDA_FORWARD, "float32")
        if cuda:  # its kernels pass the sums of tiles to each other
            tiles = -(-height // _CUDA_TILE[0]) * -(-width // _CUDA_TILE[1])
            shapes.append([images, classes, tiles, 4])
        return _run(shapes, [logits, label], _FORWARD, cuda)

    def grad(self, grad_output: jt.Var) -> tuple[jt.Var, None]:
        logits, label = self.saved
        cuda = cuda_code(_CUDA_HEADERS, _CUDA_BACKWARD, "float32")
        return _run([logits.shape], [logits, label, grad_output], _BACKWARD, cuda), None


def _run(shapes: list, inputs: list[jt.Var], source: str, cuda: dict[str, str]) -> jt.Var:
    """Calls a kernel, and returns the first of its outputs."""
    headers = include_headers(*_HEADERS)
    types = ["float32"] * len(shapes)
    return jt.code(shapes, types, inputs, cpu_header=headers, cpu_src=source, **cuda)[0]
