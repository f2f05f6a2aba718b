"""Operators without kernels of their own, written so that Jittor compiles them to fast code."""

from functools import lru_cache

import numpy as np

from jseg.interpolation import interpolation_matrix
from jseg.ops.checks import require_tensors
from jseg.ops.dispatch import use_fused
from jseg.ops.precision import lower
from jseg.runtime.backend import jt, nn


def set_value(parameter: jt.Var, array: np.ndarray) -> None:
    """Replaces the value of a parameter by an array of the same shape, as float32."""
    parameter.update(jt.array(np.ascontiguousarray(array, np.float32)))
    if parameter.numel() == 1:
        # Jittor would write a single number into the operators that use it, as a constant, and after
        # `update` the compiler refuses them.
        parameter.sync()


class _OneDNNProduct(jt.Function):
    """Computes x · weightᵀ of two matrices, and its first gradients, with oneDNN.

    Jittor's own product reaches oneDNN only where its compiler recognises the pattern in the graph.
    """

    def execute(self, x: jt.Var, weight: jt.Var) -> jt.Var:
        # What is saved stays in memory until the backward pass. Behind a frozen weight, x is not needed.
        self.x = None if weight.is_stop_grad() else x
        self.weight = None if x.is_stop_grad() else weight
        return jt.mkl_ops.mkl_matmul(x, weight, False, True)

    def grad(self, grad_output: jt.Var) -> tuple[jt.Var | None, jt.Var | None]:
        matmul = jt.mkl_ops.mkl_matmul
        of_x = None if self.weight is None else matmul(grad_output, self.weight, False, False)
        of_weight = None if self.x is None else matmul(grad_output, self.x, True, False)
        return of_x, of_weight


def linear(x: jt.Var, weight: jt.Var, bias: jt.Var | None = None) -> jt.Var:
    """Computes x · weightᵀ + bias over the last axis.

    Args:
        x: (..., in). Leading axes are folded, since Jittor passes only 2-D products to oneDNN.
        weight: (out, in).
        bias: (out,) or None.

    Returns:
        (..., out) in the type of the weight. x may have a lower precision, which saves converting it.

    Raises:
        ValueError: if the widths do not match; the message names the shapes.
        TypeError: if x, weight or bias is not a Jittor tensor.
    """
    require_tensors("linear", x, weight)
    if weight.ndim != 2 or x.ndim < 1 or x.shape[-1] != weight.shape[1]:
        raise ValueError(
            f"linear expects x (..., in) and weight (out, in); got {list(x.shape)} and {list(weight.shape)}"
        )
    if bias is not None:
        require_tensors("linear", bias)
        if bias.ndim != 1 or bias.shape[0] != weight.shape[0]:
            raise ValueError(
                f"linear with weight (out, in) expects bias (out,); got {list(weight.shape)} and "
                f"{list(bias.shape)}"
            )
    dtype = weight.dtype
    # Jittor does not fuse operators across a change of shape. The conversions therefore come before the axes
    # are folded and after they are unfolded, where they fuse with the elementwise operators around the
    # product.
    x, weight = lower(x, weight)
    y = _product(x, weight).cast(dtype)
    return y if bias is None else y + bias


def _product(x: jt.Var, weight: jt.Var) -> jt.Var:
    """Multiplies (..., in) by the transpose of (out, in), giving (..., out) in the type of the operands."""
    leading = x.shape[:-1]
    if len(leading) != 1:
        x = x.reshape(-1, x.shape[-1])
    if not jt.flags.use_cuda and jt.mkl_ops is not None and use_fused(x, weight):
        y = _OneDNNProduct()(x, weight)
    else:
        y = nn.matmul_transpose(x, weight)
    return y.reshape(*leading, weight.shape[0]) if len(leading) != 1 else y


def products_by_image(x: jt.Var, y: jt.Var) -> jt.Var:
    """Computes x · yᵀ for each image.

    Args:
        x: (B, n, d). y: (B, m, d), of the same floating-point type.

    Returns:
        (B, n, m) in that type.

    Raises:
        ValueError: if the shapes do not match; the message names them.
        TypeError: if x or y is not a Jittor tensor.
    """
    require_tensors("products_by_image", x, y)
    if x.ndim != 3 or y.ndim != 3 or (x.shape[0], x.shape[2]) != (y.shape[0], y.shape[2]):
        raise ValueError(
            f"products_by_image expects (B, n, d) and (B, m, d); got {list(x.shape)} and {list(y.shape)}"
        )
    if jt.flags.use_cuda:
        return nn.bmm_transpose(*lower(x, y)).cast(x.dtype)
    # Jittor's batched product takes a slow generic path on the CPU.
    return jt.stack([linear(x[image], y[image]) for image in range(x.shape[0])])


def transpose_last(x: jt.Var) -> jt.Var:
    """Transposes the last two axes, (..., n, m) -> (..., m, n)."""
    y = _transpose_last_on_gpu(x) if jt.flags.use_cuda else x.transpose(_last_exchanged(x.ndim))
    return y.stop_grad() if x.is_stop_grad() else y  # Jittor marks only what it is told


def _transpose_last_on_gpu(x: jt.Var) -> jt.Var:
    """Transposes the last two axes without leaving the GPU.

    Without CUTT, Jittor 1.3.11 has no GPU kernel for a transpose that moves the last axis. It would copy the
    tensor to the CPU, transpose it there and copy it back. Here an extra last axis of length 1 stays in
    place.
    """
    axes = _last_exchanged(x.ndim)
    return x.unsqueeze(-1).transpose([*axes, x.ndim]).reshape([x.shape[axis] for axis in axes])


def _last_exchanged(ndim: int) -> list[int]:
    return [*range(ndim - 2), ndim - 1, ndim - 2]


def resize_bilinear(x: jt.Var, size: tuple[int, int], rows: slice = slice(None)) -> jt.Var:
    """Resizes bilinearly with half-pixel centres (`align_corners=False`) and clamped borders.

    Two small matrix products in float32 do the work, which is faster than Jittor's gather on the CPU.

    Args:
        x: (B, C, h, w).
        size: (H, W) of the result.
        rows: which rows of the result to compute; by default all.

    Returns:
        (B, C, H, W), of which only `rows`.

    Raises:
        ValueError: if x does not have four axes, or a side of `size` is below one pixel.
        TypeError: if x is not a Jittor tensor.
    """
    require_tensors("resize_bilinear", x)
    if x.ndim != 4:
        raise ValueError(f"resize_bilinear expects x (B, C, h, w); got {list(x.shape)}")
    if min(size) < 1:
        raise ValueError(f"cannot resize to {size[0]}x{size[1]} pixels; both sides must be at least 1")
    batch, channels, height, width = x.shape
    if (height, width) == tuple(size) and rows == slice(None):
        return x
    down, across = _weights(height, size[0])[rows], _weights(width, size[1])
    x = transpose_last(x.reshape(batch * channels, height, width))
    x = _product(x, jt.array(down).stop_grad())
    x = transpose_last(x)  # while the width is still that of the input
    x = _product(x, jt.array(across).stop_grad())
    return x.reshape(batch, channels, len(down), size[1])


@lru_cache(maxsize=64)
def _weights(old: int, new: int) -> np.ndarray:
    """Returns `interpolation_matrix` (new, old) in float32, shared by all callers."""
    matrix = interpolation_matrix(old, new).astype(np.float32)
    matrix.flags.writeable = False
    return matrix
