"""Attention over inputs that training should never produce: NaN, infinities, and extreme scores."""

import numpy as np
import pytest
from op_references import (
    assert_precise,
    attention_float64,
    gradients,
    region_attention_float64,
    relative_error,
    saturated_bounds,
)

from jseg.ops import RegionLayout, attention, region_attention
from jseg.runtime.backend import jt

SPOILERS = [np.nan, np.inf, -np.inf]


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def results(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, d: np.ndarray, heads: int, causal: bool = False
) -> tuple[np.ndarray, ...]:
    """Returns output, dq, dk and dv of the operator."""
    variables = tuple(jt.array(x) for x in (q, k, v))
    output = attention(*variables, heads, causal)
    return (output.numpy(), *gradients(output, d, variables))


def exact(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, d: np.ndarray, heads: int, allowed: np.ndarray | None = None
) -> tuple[np.ndarray, ...]:
    """Returns the same in float64."""
    with np.errstate(all="ignore"):
        output, grads = attention_float64(q, k, v, heads, allowed, d)
    return (output, *grads)


@pytest.mark.parametrize("value", SPOILERS)
@pytest.mark.parametrize(
    "which, row", [("q", 3), ("q", 49), ("k", 3), ("k", 530), ("v", 3), ("v", 530), ("d", 50)]
)
def test_what_is_not_finite_stays_so(either_path: str, which: str, row: int, value: float) -> None:
    """One bad value in one head of one image reaches exactly the results that it reaches in float64.

    A kernel that turned NaN into a number again would hide that a training run has diverged.
    """
    inputs = {
        "q": draw(2, 60, 16),
        "k": draw(2, 540, 16, seed=1),
        "v": draw(2, 540, 16, seed=2),
        "d": draw(2, 60, 16, seed=3),
    }
    inputs[which][1, row, 3] = value
    for actual, wanted in zip(results(*inputs.values(), 2), exact(*inputs.values(), 2)):
        finite = np.isfinite(wanted)
        assert np.array_equal(np.isfinite(actual), finite)
        assert relative_error(actual[finite], wanted[finite]) < 1e-5
    assert not finite.all() or which == "v"  # dv does not depend on v


@pytest.mark.parametrize("which", "qkv")
def test_causal_rows_behind_a_nan(either_path: str, which: str) -> None:
    """Row i sees keys 0 ... i, so NaN in row 20 does not reach rows before a bad query or key."""
    q, k, v, d = (draw(1, 60, 8, seed=i) for i in range(4))
    {"q": q, "k": k, "v": v}[which][0, 20, 3] = np.nan
    output, dq, dk, dv = results(q, k, v, d, 1, causal=True)
    reached = slice(20, 21 if which == "q" else None)
    bad = output[0, :, 3]
    assert np.isnan(bad[reached]).all() and np.isnan(dq[0, reached]).all()
    assert np.isnan(dk[0, :21]).all()
    if which != "v":
        assert np.isnan(dv[0, :21]).all()
        if either_path == "1":  # adding a mask to NaN, as the plain version does, leaves NaN
            assert np.isfinite(bad[:20]).all()


def test_equal_scores_far_below_zero() -> None:
    """With scores of -2.8e32 everywhere, no sentinel of the padding or of the causal mask may take part."""
    q, k, v, d = np.full((1, 70, 8), -1e16), np.full((1, 70, 8), 1e16), draw(1, 70, 8), draw(1, 70, 8, seed=1)
    q, k = q.astype(np.float32), k.astype(np.float32)
    output, _, _, dv = results(q, k[:, :3], v[:, :3], d, 1)
    assert np.allclose(output, v[:, :3].mean(1, keepdims=True), atol=1e-6) and np.isfinite(dv).all()
    output, _, _, dv = results(q, k, v, d, 1, causal=True)
    assert np.allclose(output[0], np.cumsum(v[0], 0) / np.arange(1, 71)[:, None], atol=1e-6)
    # The log-sum-exp of such scores loses the digits of log(number of keys), so each probability is 1 in the
    # backward pass. But nothing reaches a key from the rows before it.
    assert np.allclose(dv[0], np.cumsum(d[0, ::-1], 0)[::-1], atol=1e-5)


@pytest.mark.parametrize("far", [-1e5, -1e35, -np.inf])
@pytest.mark.parametrize("near", [0, 300, 539])
def test_rows_with_one_score_that_counts(either_path: str, far: float, near: int) -> None:
    """If all scores but one are very low or -infinity, the row is the value of one key, in any block."""
    q, k = np.zeros((1, 50, 4), np.float32), np.zeros((1, 540, 4), np.float32)
    q[..., 0], k[..., 0] = 2, far
    k[:, near, 0] = 1
    v, d = draw(1, 540, 4), draw(1, 50, 4, seed=1)
    output, dq, dk, dv = results(q, k, v, d, 1)
    assert np.allclose(output, v[:, near : near + 1], atol=1e-6)
    expected = np.zeros_like(v)
    expected[:, near] = d.sum(1)
    assert np.allclose(dv, expected, atol=1e-5) and np.abs(dk).max() < 1e-4
    if np.isfinite(far):
        assert np.abs(dq).max() < 1e-4 * max(1, 1e-8 * abs(far))


@pytest.mark.parametrize("times", [5, 20, 50])
def test_gradients_at_large_scores(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """For scores up to about 200, gradients have at most 3x the error of plain operators.

    The digits that the log-sum-exp of such scores loses are allowed in addition.
    """
    q, k, v, d = (
        times * draw(2, 60, 32),
        draw(2, 300, 32, seed=1),
        draw(2, 300, 32, seed=2),
        draw(2, 60, 32, seed=3),
    )
    fused = results(q, k, v, d, 2)
    monkeypatch.setenv("JSEG_FUSED", "0")
    assert_precise(fused, exact(q, k, v, d, 2), results(q, k, v, d, 2), extra=2.0**-24 * 4 * times)


def test_gradients_where_the_softmax_is_saturated(either_path: str) -> None:
    """For scores of about 10,000, gradients of q and k stay within their absolute bounds.

    They are differences of almost equal numbers, and their values are as large as their rounding errors.
    """
    q, k, v, d = (
        2500 * draw(1, 40, 16),
        draw(1, 70, 16, seed=1),
        draw(1, 70, 16, seed=2),
        draw(1, 40, 16, seed=3),
    )
    _, dq, dk, dv = results(q, k, v, d, 1)
    _, *wanted = exact(q, k, v, d, 1)
    bounds = saturated_bounds(q, k, v, d, 1, 2.0**-24)
    assert np.abs(dq - wanted[0]).max() < bounds[0] and np.abs(dk - wanted[1]).max() < bounds[1]
    assert relative_error(dv, wanted[2]) < 2e-3


LAYOUT = RegionLayout((4, 5), (2, 2), 4, skipped=2)
WIDTH = 8


@pytest.mark.parametrize("value", SPOILERS)
@pytest.mark.parametrize("part", [0, 1, 2], ids="qkv")
@pytest.mark.parametrize("token", [0, 3, 10, LAYOUT.base + 2], ids=["cls", "skipped", "patch", "region"])
def test_regions_let_nothing_bad_disappear(either_path: str, token: int, part: int, value: float) -> None:
    """A bad query spoils its own row, and a bad key or value spoils the rows that see it, but no others."""
    qkv, d = draw(1, LAYOUT.tokens, 3 * WIDTH), draw(1, LAYOUT.tokens, WIDTH, seed=1)
    qkv[0, token, part * WIDTH + 3] = value
    variable = jt.array(qkv)
    output = region_attention(variable, 1, LAYOUT)
    (gradient,) = gradients(output, d, (variable,))
    with np.errstate(all="ignore"):
        wanted, wanted_gradient = region_attention_float64(qkv, 1, LAYOUT, d)
    reached = LAYOUT.allowed()[:, token] if part else np.arange(LAYOUT.tokens) == token
    reached[LAYOUT.prefix - LAYOUT.skipped : LAYOUT.prefix] = False
    bad = reached[:, None] & ~np.isfinite(wanted[0])
    assert not np.isfinite(output.numpy()[0])[bad].any()
    assert not np.isfinite(gradient[0])[reached[:, None] & ~np.isfinite(wanted_gradient[0])].any()
    if either_path == "1":
        assert np.isfinite(output.numpy()[0])[~reached].all()
