"""Plain float64 NumPy versions of the operators, with analytic gradients, written from the formulas."""

from collections.abc import Sequence

import numpy as np

from jseg.ops import RegionLayout
from jseg.runtime.backend import jt


def relative_error(actual: np.ndarray, expected: np.ndarray, least: float = 1e-30) -> float:
    """Returns the largest difference relative to the largest expected value, or infinity if one is NaN.

    The expected value counts as at least `least`.
    """
    actual = np.asarray(actual, np.float64)
    assert actual.shape == expected.shape
    error = np.abs(actual - expected).max() / max(np.abs(expected).max(), least)
    return float(error) if np.isfinite(error) else np.inf


def assert_precise(
    actual: Sequence[np.ndarray],
    exact: Sequence[np.ndarray],
    plain: Sequence[np.ndarray],
    limits: tuple[float, float] | None = None,
    extra: float = 0.0,
) -> None:
    """Asserts that the output has at most 2x the error of plain operators, and each gradient at most 3x.

    Args:
        plain: results of plain operators in the same number format.
        limits: largest errors of the output and of gradients, used instead if given.
        extra: error allowed in addition to that of the plain operators.
    """
    for i, (x, y, z) in enumerate(zip(actual, exact, plain)):
        limit = limits[i > 0] if limits else (3 if i else 2) * relative_error(z, y, 1e-3) + 1e-6 + extra
        found = relative_error(x, y, 1e-3)
        assert found <= limit, f"result {i}: error {found:.2g}, allowed {limit:.2g}"


def gradients(output: jt.Var, weights: np.ndarray, inputs: tuple[jt.Var, ...]) -> tuple[np.ndarray, ...]:
    """Returns the gradients of sum(output · weights) with respect to `inputs`, computed together."""
    found = jt.grad((output * jt.array(weights)).sum(), list(inputs))
    jt.sync(found)
    return tuple(g.numpy() for g in found)


def split(x: np.ndarray, heads: int) -> np.ndarray:
    """Splits (B, L, H·c) into (B, H, L, c) in float64."""
    return x.astype(np.float64).reshape(x.shape[0], x.shape[1], heads, -1).transpose(0, 2, 1, 3)


def join(x: np.ndarray) -> np.ndarray:
    """Inverts `split`."""
    return x.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[2], -1)


def attention_float64(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    heads: int,
    allowed: np.ndarray | None,
    d_out: np.ndarray,
    factors: np.ndarray | None = None,
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Returns the output and the gradients (dq, dk, dv) of sum(output · d_out), by the chain rule.

    Args:
        allowed: (Lq, Lk) bool or None.
        factors: (B, H, Lq, Lk) dropout factors of the probabilities.
    """
    q, k, v, d = (split(x, heads) for x in (q, k, v, d_out))
    scale = q.shape[-1] ** -0.5
    score = q @ k.transpose(0, 1, 3, 2) * scale
    if allowed is not None:
        score = np.where(allowed, score, -np.inf)
    p = np.exp(score - score.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    factors = np.ones(1) if factors is None else factors
    dp = d @ v.transpose(0, 1, 3, 2) * factors
    ds = p * (dp - (dp * p).sum(-1, keepdims=True)) * scale
    p = p * factors
    grads = (ds @ k, ds.transpose(0, 1, 3, 2) @ q, p.transpose(0, 1, 3, 2) @ d)
    return join(p @ v), tuple(join(g) for g in grads)


def saturated_bounds(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, d_out: np.ndarray, heads: int, rounding: float
) -> tuple[float, float]:
    """Returns bounds on the errors of dq and dk where each row has one probability of almost 1.

    dsᵢⱼ = p (gradᵢ·vⱼ − gradᵢ·outputᵢ) / √c is a difference of nearly equal numbers. Each of them is at most
    the product of two norms. The relative rounding error of the output is `rounding`, and that of p is the
    float32 rounding error of the score. A row of dq is one such slope times a key. A row of dk may add up the
    slopes of all queries.
    """
    q, k, v, d = (split(x, heads) for x in (q, k, v, d_out))
    scale = q.shape[-1] ** -0.5
    score = np.abs(q @ k.transpose(0, 1, 3, 2)).max() * scale
    norms = np.linalg.norm(d, axis=-1).max() * np.linalg.norm(v, axis=-1).max()
    slope = norms * scale * (2 * rounding + 2.0**-23 * score)
    return slope * np.abs(k).max(), slope * np.abs(q).max() * q.shape[2]


def region_attention_float64(
    qkv: np.ndarray, heads: int, layout: RegionLayout, d_out: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the output and the gradient of qkv with the dense mask.

    Rows of skipped tokens are 0 and pass no gradient.
    """
    width = qkv.shape[-1] // 3
    q, k, v = (qkv[..., i * width : (i + 1) * width] for i in range(3))
    kept = np.ones((layout.tokens, 1))
    kept[layout.prefix - layout.skipped : layout.prefix] = 0
    output, grads = attention_float64(q, k, v, heads, layout.allowed(), d_out * kept)
    return output * kept, np.concatenate(grads, axis=-1)


def dropout_factors(
    batch: int, heads: int, queries: int, keys: int, rate: float, seed: int, first_row: int = 0
) -> np.ndarray:
    """Returns (B, H, Lq, Lk): 1 / (1 − rate) where the kernels keep a probability, 0 where they drop it.

    Args:
        first_row: number of rows of the whole batch before these.
    """

    def mix(x):
        x = (x ^ (x >> 16)) * 0x85EBCA6B % 2**32
        x = (x ^ (x >> 13)) * 0xC2B2AE35 % 2**32
        return x ^ (x >> 16)

    row = np.arange(batch * heads * queries, dtype=np.uint64) + np.uint64(first_row)
    column = np.arange(keys, dtype=np.uint64) * 0x9E3779B1 % 2**32
    key = mix(row % 2**32 ^ mix((seed + (row >> 32)) % 2**32))
    kept = mix((key[:, None] + column[None, :]) % 2**32) >= int(rate * 2**32)
    return np.where(kept, 1 / (1 - rate), 0).reshape(batch, heads, queries, keys)


def layer_norm_float64(
    x: np.ndarray, weight: np.ndarray, bias: np.ndarray, eps: float, d_out: np.ndarray
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Returns the output and the gradients (dx, dweight, dbias) of sum(output · d_out)."""
    x, weight, d = x.astype(np.float64), weight.astype(np.float64), d_out.astype(np.float64)
    centred = x - x.mean(-1, keepdims=True)
    deviation = np.sqrt((centred**2).mean(-1, keepdims=True) + eps)
    normal, t = centred / deviation, d * weight
    dx = (t - t.mean(-1, keepdims=True) - normal * (t * normal).mean(-1, keepdims=True)) / deviation
    axes = tuple(range(x.ndim - 1))
    return normal * weight + bias, (dx, (d * normal).sum(axes), d.sum(axes))


def resize_bilinear_float64(
    x: np.ndarray, size: tuple[int, int], d_out: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the output and the gradient of sum(output · d_out), pixel by pixel as defined."""
    height, width = x.shape[2:]
    out, dx = np.zeros(x.shape[:2] + tuple(size)), np.zeros(x.shape)
    for i in range(size[0]):
        for j in range(size[1]):
            y = min(max((i + 0.5) * height / size[0] - 0.5, 0.0), height - 1.0)
            z = min(max((j + 0.5) * width / size[1] - 0.5, 0.0), width - 1.0)
            for row in {int(y), min(int(y) + 1, height - 1)}:
                for column in {int(z), min(int(z) + 1, width - 1)}:
                    share = max(0.0, 1 - abs(y - row)) * max(0.0, 1 - abs(z - column))
                    out[:, :, i, j] += share * x[:, :, row, column]
                    dx[:, :, row, column] += share * d_out[:, :, i, j]
    return out, dx
