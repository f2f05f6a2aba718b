"""Sums of the focal and dice losses, against their definition in float64."""

import numpy as np
import pytest
from number_formats import limit
from op_references import relative_error

from jseg.interpolation import interpolation_matrix
from jseg.ops import focal_dice
from jseg.runtime.backend import jt


def definition(logits: np.ndarray, label: np.ndarray, upstream: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns focal, overlap, size and labelled (4, B, C), and the gradient of Σ upstream · sums."""
    rows = interpolation_matrix(logits.shape[2], label.shape[1])
    columns = interpolation_matrix(logits.shape[3], label.shape[2])
    x = rows @ logits.astype(np.float64) @ columns.T
    t = (label[:, None] == np.arange(logits.shape[1])[:, None, None]).astype(np.float64)
    z = np.where(t == 1, x, -x)
    q, miss, alpha = 1 / (1 + np.exp(-z)), 1 / (1 + np.exp(z)), np.where(t == 1, 0.25, 0.75)
    p, cost = np.where(t == 1, q, miss), np.logaddexp(0, -z)
    pixels = x.shape[2] * x.shape[3]
    sums = np.stack([a.sum((2, 3)) for a in (alpha * miss**2 * cost / pixels, p * t, p, t)])
    focal = -np.sign(z) * np.sign(x) * alpha * miss**2 * (2 * q * cost + miss) / pixels
    of_focal, of_overlap, of_size = (u[:, :, None, None] for u in upstream)
    slope = of_focal * focal + q * miss * (of_size + t * of_overlap)
    return sums, rows.T @ slope @ columns


@pytest.mark.parametrize(
    "images, classes, grid, size", [(2, 3, (4, 3), (37, 21)), (1, 2, (1, 1), (2, 1)), (1, 2, (9, 8), (5, 8))]
)
def test_sums_and_gradients(either_path: str, images: int, classes: int, grid, size) -> None:
    rng = np.random.default_rng(0)
    logits = (5 * rng.standard_normal((images, classes, *grid))).astype(np.float32)
    label = rng.integers(-1, classes + 1, (images, *size)).astype(np.int32)
    upstream = rng.standard_normal((3, images, classes)).astype(np.float32)
    expected, gradient = definition(logits, label, upstream)
    x = jt.array(logits)
    sums = focal_dice(x, jt.array(label))
    for name, found, wanted in zip(sums._fields, sums, expected):
        assert relative_error(found.numpy(), wanted) < limit(2e-6), name
    loss = sum((jt.array(u) * s).sum() for u, s in zip(upstream, sums))
    assert relative_error(jt.grad(loss, x).numpy(), gradient) < limit(5e-6)


def test_many_pixels_lose_no_digits() -> None:
    """Sums over a quarter of a million equal pixels; one float32 sum is off by more than 1e-5 there."""
    logits, label = np.full((1, 1, 1, 1), -1.3, np.float32), np.full((1, 512, 512), -1, np.int32)
    sums = focal_dice(jt.array(logits), jt.array(label))
    p = 1 / (1 + np.exp(1.3))
    assert sums.size.item() == pytest.approx(p * 2**18, rel=3e-7)
    assert sums.focal.item() == pytest.approx(-0.75 * p**2 * np.log1p(-p), rel=3e-7)


def test_wrong_inputs_are_named() -> None:
    with pytest.raises(ValueError, match=r"\[1, 2, 3\].*float32"):
        focal_dice(jt.zeros((1, 1, 2, 3)), jt.zeros((1, 2, 3)))
