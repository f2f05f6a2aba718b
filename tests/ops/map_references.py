"""Class maps and sums of losses by their definitions in float64, and comparisons with them."""

import numpy as np
from number_formats import limit
from op_references import relative_error

from jseg.interpolation import interpolation_matrix
from jseg.ops import GridCopy, class_map, focal_dice
from jseg.runtime.backend import jt


def resized(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    rows, columns = (interpolation_matrix(maps.shape[-2 + i], size[i]) for i in range(2))
    return rows @ maps @ columns.T


def scores(copies: list[GridCopy], size: tuple[int, int], bias: np.ndarray) -> np.ndarray:
    """(B, C, *size) by the definition."""
    total = 0.0
    for copy in copies:
        maps = copy.logits.numpy().astype(np.float64)
        height, width = copy.size[0] + copy.crop[0], copy.size[1] + copy.crop[1]
        mean, count = np.zeros((maps.shape[0], len(bias), height, width)), np.zeros((height, width))
        for index, (top, left) in enumerate(copy.positions):
            window = np.s_[..., top : top + copy.crop[0], left : left + copy.crop[1]]
            logits = resized(maps[:, index], copy.covered or copy.crop)[..., : copy.crop[0], : copy.crop[1]]
            mean[window] += 1 / (1 + np.exp(-logits)) - bias[:, None, None]
            count[window] += 1
        mean = mean[..., : copy.size[0], : copy.size[1]] / count[: copy.size[0], : copy.size[1]]
        mean = resized(mean, size)
        total = total + (mean[..., ::-1] if copy.mirrored else mean)
    return total / len(copies)


def random_copy(rng, batch, classes, grid, size, crop, positions, mirrored=False, scale=3.0) -> GridCopy:
    logits = (scale * rng.standard_normal((batch, len(positions), classes, *grid))).astype(np.float32)
    return GridCopy(jt.array(logits), size, crop, positions, mirrored)


def mixed_copies(rng: np.random.Generator) -> list[GridCopy]:
    """Copies of two images with five classes: overlapping windows that reach beyond a copy, a mirrored and
    larger copy, and windows with parts of patches."""
    slid = [(0, 0), (0, 20), (12, 0), (12, 20)]
    parts = random_copy(rng, 2, 5, (4, 4), (40, 50), (30, 31), [(0, 0), (0, 19), (10, 0), (10, 19)])
    return [
        random_copy(rng, 2, 5, (4, 4), (40, 52), (32, 32), slid),
        random_copy(rng, 2, 5, (7, 9), (50, 70), (56, 72), [(0, 0)], mirrored=True),
        parts._replace(covered=(32, 32)),
    ]


def assert_best(copies: list[GridCopy], size: tuple[int, int], bias: np.ndarray, error: float = 2e-6) -> None:
    """Compares `class_map` with its definition. Where two classes are within rounding, either may win."""
    found, expected = class_map(copies, size, jt.array(bias)), scores(copies, size, bias)
    mask, confidence = found.mask.numpy(), found.confidence.numpy()
    np.testing.assert_allclose(confidence, expected.max(1), atol=error)
    np.testing.assert_allclose(np.take_along_axis(expected, mask[:, None], 1)[:, 0], confidence, atol=error)
    assert (mask == expected.argmax(1)).mean() > 0.999


def sums_and_gradient(
    logits: np.ndarray, label: np.ndarray, upstream: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
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


def assert_sums_and_gradients(
    images: int, classes: int, grid: tuple[int, int], size: tuple[int, int], error: float = 2e-6
) -> None:
    """Compares `focal_dice` with its definition; gradients may be 2.5 times as far from it."""
    rng = np.random.default_rng(0)
    logits = (5 * rng.standard_normal((images, classes, *grid))).astype(np.float32)
    label = rng.integers(-1, classes + 1, (images, *size)).astype(np.int32)
    upstream = rng.standard_normal((3, images, classes)).astype(np.float32)
    expected, gradient = sums_and_gradient(logits, label, upstream)
    x = jt.array(logits)
    sums = focal_dice(x, jt.array(label))
    for name, found, wanted in zip(sums._fields, sums, expected):
        assert relative_error(found.numpy(), wanted) < limit(error), name
    loss = sum((jt.array(u) * s).sum() for u, s in zip(upstream, sums))
    assert relative_error(jt.grad(loss, x).numpy(), gradient) < limit(2.5 * error)
