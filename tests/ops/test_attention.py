"""Masked multi-head attention against float64 NumPy, on awkward sizes."""

from typing import Optional, Tuple

import numpy as np
import pytest
from op_references import attention_float64, gradients, relative_error

from jseg.ops import attention
from jseg.ops.randomness import set_first_sample
from jseg.runtime.backend import jt

FORBIDDEN = np.float32(-1e30)


def arrays(batch: int, queries: int, keys: int, width: int, seed: int = 0) -> Tuple[np.ndarray, ...]:
    """q, k, v and the weights of the output in the loss."""
    rng = np.random.default_rng(seed)
    return tuple(rng.standard_normal((batch, length, width)).astype(np.float32)
                 for length in (queries, keys, keys, queries))


def random_mask(queries: int, keys: int) -> np.ndarray:
    """Half of the pairs forbidden; the first row forbids everything, the second allows the last key alone."""
    mask = np.where(np.random.default_rng(1).random((queries, keys)) < 0.5, FORBIDDEN, np.float32(0))
    mask[0] = FORBIDDEN
    if queries > 1:
        mask[1], mask[1, -1] = FORBIDDEN, 0
    return mask


def assert_agrees(batch: int, queries: int, keys: int, heads: int, channels: int,
                  mask: Optional[np.ndarray]) -> None:
    q, k, v, weights = arrays(batch, queries, keys, heads * channels)
    expected, expected_gradients = attention_float64(q, k, v, heads, mask, weights)
    variables = tuple(jt.array(x) for x in (q, k, v))
    output = attention(*variables, heads, None if mask is None else jt.array(mask))
    assert relative_error(output.numpy(), expected) < 2e-6
    for name, actual, wanted in zip("qkv", gradients(output, weights, variables), expected_gradients):
        if keys == 1 and name != "v":  # the softmax of one score is constant
            assert np.abs(actual).max() < 1e-5
        else:
            assert relative_error(actual, wanted) < 5e-6, name


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("batch, queries, keys, heads, channels", [
    (1, 1, 1, 1, 8), (3, 5, 1, 2, 16), (1, 63, 15, 2, 24), (3, 64, 16, 1, 64), (1, 65, 17, 3, 8), (3, 130, 65, 2, 16)])
def test_values_and_gradients(either_path: str, batch: int, queries: int, keys: int, heads: int,
                              channels: int, masked: bool) -> None:
    """Sizes around the 64 query rows and the 16 keys of a block, both paths."""
    assert_agrees(batch, queries, keys, heads, channels, random_mask(queries, keys) if masked else None)


def test_as_many_keys_as_a_picture_has() -> None:
    assert_agrees(1, 70, 1051, 2, 64, random_mask(70, 1051))


def test_a_row_that_forbids_everything_attends_evenly(either_path: str) -> None:
    """Its gradient once was too large by the number of keys: −1e30 + log(7) is −1e30 in float32, so the
    log-sum-exp alone cannot give the probabilities back. And on the plain path it attended by its scores: fast
    mathematics had turned (score + mask) - maximum into score + (mask - maximum)."""
    q, k, v, weights = arrays(1, 3, 7, 8)
    variables = tuple(jt.array(x) for x in (q, k, v))
    output = attention(*variables, 1, jt.array(np.full((3, 7), FORBIDDEN)))
    assert np.allclose(output.numpy(), v.mean(axis=1, keepdims=True).repeat(3, axis=1), atol=1e-6)
    dv = gradients(output, weights, variables)[2]
    assert np.allclose(dv, weights.sum(axis=1, keepdims=True).repeat(7, axis=1) / 7, atol=1e-6)


def test_forbidden_keys_get_nothing() -> None:
    """Huge values behind the mask must not leak through a rounding error."""
    q, k, v, _ = arrays(1, 4, 6, 8)
    mask = np.zeros((4, 6), np.float32)
    mask[:, 3:] = FORBIDDEN
    spoiled = v.copy()
    spoiled[:, 3:] = 1e20
    clean, dirty = (attention(jt.array(q), jt.array(k), jt.array(x), 2, jt.array(mask)).numpy()
                    for x in (v, spoiled))
    assert np.array_equal(clean, dirty)


def test_large_scores_do_not_overflow(either_path: str) -> None:
    q, k, v, weights = arrays(1, 4, 6, 8)
    expected, _ = attention_float64(100 * q, 100 * k, v, 1, None, weights)
    output = attention(jt.array(100 * q), jt.array(100 * k), jt.array(v), 1).numpy()
    assert relative_error(output, expected) < 2e-3  # scores of 1e4 carry an error of 1e-3 each


def test_gradient_by_finite_differences() -> None:
    """Independent of any formula: nudge q, k and v along a random direction."""
    q, k, v, weights = arrays(1, 5, 6, 16)
    direction = arrays(1, 5, 6, 16, seed=9)[:3]
    variables = tuple(jt.array(x) for x in (q, k, v))
    grads = gradients(attention(*variables, 2), weights, variables)
    slope = sum(float((g * d).sum()) for g, d in zip(grads, direction))

    def loss(step: float) -> float:
        moved = (jt.array((x + step * d).astype(np.float32)) for x, d in zip((q, k, v), direction))
        return float((attention(*moved, 2).numpy().astype(np.float64) * weights).sum())

    assert (loss(1e-2) - loss(-1e-2)) / 2e-2 == pytest.approx(slope, rel=2e-3)


class TestDropout:
    """Dropout of probabilities; the pattern follows NumPy's global random state."""

    @staticmethod
    def run(seed: int, rate: float, q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
        np.random.seed(seed)
        return attention(jt.array(q), jt.array(k), jt.array(v), 2, dropout=rate).numpy()

    def test_same_seed_same_pattern(self) -> None:
        q, k, v, _ = arrays(1, 9, 33, 16)
        first, again, other = (self.run(seed, 0.3, q, k, v) for seed in (4, 4, 5))
        assert np.array_equal(first, again)
        assert not np.allclose(first, other, atol=1e-3)

    def test_share_dropped_and_mean_kept(self) -> None:
        """Equal scores and v = 1: an output is (kept keys) / (keys · 0.75), binomially distributed around 1."""
        keys, rate = 400, 0.25
        ones, zeros = np.ones((3, keys, 16), np.float32), np.zeros((3, 100, 16), np.float32)
        output = self.run(0, rate, zeros, np.zeros_like(ones), ones)[:, :, ::8]  # (3, 100, 2): one channel a head
        kept = output * keys * (1 - rate)
        assert np.allclose(kept, kept.round(), atol=1e-2)
        deviation = np.sqrt(rate / (1 - rate) / keys)
        assert abs(output.mean() - 1) < 5 * deviation / np.sqrt(output.size)
        assert 0.9 < output.std() / deviation < 1.1
        rows = kept.round().reshape(-1)
        assert abs(np.corrcoef(rows[:-1], rows[1:])[0, 1]) < 0.15  # rows draw independently

    def test_gradient_uses_the_pattern_of_the_forward_pass(self) -> None:
        q, k, v, weights = arrays(3, 70, 20, 16)
        direction = arrays(3, 70, 20, 16, seed=9)[:3]
        variables = tuple(jt.array(x) for x in (q, k, v))
        np.random.seed(11)
        grads = gradients(attention(*variables, 2, dropout=0.4), weights, variables)
        slope = sum(float((g * d).sum()) for g, d in zip(grads, direction))

        def loss(step: float) -> float:
            moved = ((x + step * d).astype(np.float32) for x, d in zip((q, k, v), direction))
            return float((self.run(11, 0.4, *moved).astype(np.float64) * weights).sum())

        assert (loss(5e-3) - loss(-5e-3)) / 1e-2 == pytest.approx(slope, rel=5e-3)

    def test_plain_path_drops_the_same_probabilities(self, monkeypatch: pytest.MonkeyPatch) -> None:
        q, k, v, _ = arrays(3, 9, 33, 16)
        fused = self.run(4, 0.3, q, k, v)
        monkeypatch.setenv("JSEG_FUSED_OPS", "0")
        assert relative_error(self.run(4, 0.3, q, k, v), fused) < 5e-6

    def test_a_part_of_a_batch_has_its_part_of_the_pattern(self) -> None:
        q, k, v, _ = arrays(3, 9, 33, 16)
        whole = self.run(4, 0.3, q, k, v)
        set_first_sample(2)
        try:
            last = self.run(4, 0.3, *(np.ascontiguousarray(x[2:]) for x in (q, k, v)))
        finally:
            set_first_sample(0)
        assert np.array_equal(last, whole[2:])

    def test_plain_path_keeps_the_mean(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("JSEG_FUSED_OPS", "0")
        zeros, ones = np.zeros((3, 100, 16), np.float32), np.ones((3, 400, 16), np.float32)
        output = self.run(0, 0.25, zeros, np.zeros_like(ones), ones)
        assert output.std() > 0.01 and abs(output.mean() - 1) < 0.01


def test_frozen_inputs_give_the_same_gradient() -> None:
    """Only v trains (q and k carry no gradient)."""
    q, k, v, weights = arrays(1, 5, 6, 16)
    expected = attention_float64(q, k, v, 2, None, weights)[1][2]
    value = jt.array(v)
    output = attention(jt.array(q).stop_grad(), jt.array(k).stop_grad(), value, 2)
    assert relative_error(gradients(output, weights, (value,))[0], expected) < 5e-6


@pytest.mark.parametrize("shapes, heads, words", [
    (((1, 4, 8), (1, 5, 8), (1, 6, 8)), 2, "k, v (B, Lk, C)"),
    (((4, 8), (4, 8), (4, 8)), 2, "(B, Lq, C)"),
    (((1, 4, 8), (2, 5, 8), (2, 5, 8)), 2, "equal B and C"),
    (((1, 4, 8), (1, 5, 8), (1, 5, 8)), 3, "3 heads"),
    (((1, 4, 8), (1, 5, 8), (1, 5, 8)), 0, "at least one head")])
def test_shapes_that_do_not_fit(shapes: Tuple[Tuple[int, ...], ...], heads: int, words: str) -> None:
    with pytest.raises(ValueError) as failure:
        attention(*(jt.zeros(shape) for shape in shapes), heads)
    assert words in str(failure.value)


def test_wrong_mask_dropout_and_type() -> None:
    q = jt.zeros((1, 4, 8))
    with pytest.raises(ValueError, match=r"\(4, 4\); got \[4, 5\]"):
        attention(q, q, q, 2, jt.zeros((4, 5)))
    with pytest.raises(ValueError, match=r"dropout must be in \[0, 1\); got 1.0"):
        attention(q, q, q, 2, dropout=1.0)
    with pytest.raises(ValueError, match="one floating type; got bool, float32"):
        attention(q, q, q, 2, jt.array(np.zeros((4, 4), bool)))
