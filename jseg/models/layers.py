"""Parameter-holding layers shared by CLIP and the CLIP-RC heads, on top of `jseg.ops`."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import numpy as np

from jseg.ops import layer_norm, linear
from jseg.runtime.backend import jt, nn

_filled: list[str] = []  # parts of the model that files fill, one entry for each enclosing context
_parts: list[str] = []  # parts being created, likewise


@contextmanager
def filled_by_file(part: Literal["model", "clip"] = "model") -> Iterator[None]:
    """Within this context, new parameters are zeros and not random, since they will be loaded from a file.

    Args:
        part: 'model' for all parameters, 'clip' for those created within `clip_parameters`.
    """
    _filled.append(part)
    try:
        yield
    finally:
        _filled.pop()


@contextmanager
def clip_parameters() -> Iterator[None]:
    """Within this context, new parameters are those of a CLIP."""
    _parts.append("clip")
    try:
        yield
    finally:
        _parts.pop()


def is_drawn() -> bool:
    """Whether a new parameter is random; see `filled_by_file`."""
    return "model" not in _filled and not ("clip" in _filled and "clip" in _parts)


def trunc_normal(shape: Sequence[int], std: float) -> jt.Var:
    """Normal values of standard deviation `std`, redrawn if they are outside ±2 std.

    NumPy's global generator is used, so that `numpy.random.seed` determines the initial weights. Within
    `filled_by_file` nothing is drawn.
    """
    if not is_drawn():
        return jt.zeros(tuple(shape))
    values = np.random.standard_normal(tuple(shape))
    outside = np.abs(values) > 2
    while outside.any():
        values[outside] = np.random.standard_normal(int(outside.sum()))
        outside = np.abs(values) > 2
    return jt.array((values * std).astype(np.float32))


class Linear(nn.Module):
    """x · weightᵀ + bias with weight (out, in), truncated normal 0.02, and zero bias."""

    def __init__(self, in_features: int, out_features: int, bias: bool = True) -> None:
        self.weight = trunc_normal((out_features, in_features), std=0.02)
        self.bias = jt.zeros((out_features,)) if bias else None

    def execute(self, x: jt.Var) -> jt.Var:
        return linear(x, self.weight, self.bias)


class LayerNorm(nn.Module):
    """Layer normalisation over the last axis of width `dim`."""

    def __init__(self, dim: int, eps: float = 1e-5) -> None:
        self.weight = jt.ones((dim,))
        self.bias = jt.zeros((dim,))
        self.eps = eps

    def execute(self, x: jt.Var) -> jt.Var:
        return layer_norm(x, self.weight, self.bias, self.eps)


class PatchConvolution(nn.Module):
    """CLIP's convolution of stride = kernel size p without bias, as one matrix product on unfolded patches.

    Args:
        width: D. patch_size: p.
        std: standard deviation of the initial weight (D, 3, p, p), truncated normal.
    """

    def __init__(self, width: int, patch_size: int, std: float) -> None:
        self.weight = trunc_normal((width, 3, patch_size, patch_size), std)

    def execute(self, image: jt.Var) -> jt.Var:
        """(B, 3, H, W) -> (B, H/p · W/p, D), patches row by row.

        Raises:
            ValueError: if H or W is not divisible by p.
        """
        batch, channels, height, width = image.shape
        patch = self.weight.shape[-1]
        if height % patch or width % patch:
            raise ValueError(
                f"image of {height}x{width} pixels is not divisible by the patch size {patch}; resize or pad "
                "it"
            )
        rows, columns = height // patch, width // patch
        patches = image.reshape(batch, channels, rows, patch, columns, patch).permute(0, 2, 4, 1, 3, 5)
        patches = patches.reshape(batch * rows * columns, channels * patch * patch)
        weight = self.weight.reshape(self.weight.shape[0], -1)
        return linear(patches, weight).reshape(batch, rows * columns, -1)


def fill_to_patches(maps: jt.Var, patch: int, value: float = 0) -> jt.Var:
    """(..., H, W) filled with `value` at the bottom and the right, up to the next multiples of `patch`.

    0 is the mean colour of a normalised image, and what smaller images are filled with in training.
    """
    for axis in (maps.ndim - 2, maps.ndim - 1):
        missing = -maps.shape[axis] % patch
        if missing:
            shape = [missing if place == axis else side for place, side in enumerate(maps.shape)]
            maps = jt.concat([maps, jt.full(shape, value, maps.dtype)], dim=axis)
    return maps
