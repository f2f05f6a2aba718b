"""Multi-head attention against float64 NumPy, on awkward sizes."""

import numpy as np
import pytest
from number_formats import in_format, limit, needs_float32, rounded
from op_references import attention_float64, dropout_factors, gradients, relative_error

from jseg import ops
from jseg.ops.randomness import set_first_sample
from jseg.runtime.backend import jt

attention = in_format(ops.attention)


def arrays(batch: int, queries: int, keys: int, width: int, seed: int = 0) -> tuple[np.ndarray, ...]:
    """Returns q, k, v and the weights of the output in the loss."""
    rng = np.random.default_rng(seed)
    return tuple(
        rounded(rng.standard_normal((batch, length, width))) for length in (queries, keys, keys, queries)
    )


def assert_agrees(
    batch: int, queries: int, keys: int, heads: int, channels: int, causal: bool = False
) -> None:
    q, k, v, weights = arrays(batch, queries, keys, heads * channels)
    allowed = np.tril(np.ones((queries, keys), bool)) if causal else None
    expected, expected_gradients = attention_float64(q, k, v, heads, allowed, weights)
    variables = tuple(jt.array(x) for x in (q, k, v))
    output = attention(*variables, heads, causal)
    assert relative_error(output.numpy(), expected) < limit(2e-6)
    for name, actual, wanted in zip("qkv", gradients(output, weights, variables), expected_gradients):
        if keys == 1 and name != "v":  # the softmax of one score is constant
            assert np.abs(actual).max() < limit(1e-5)
        else:
            assert relative_error(actual, wanted) < limit(5e-6), name


@pytest.mark.parametrize(
    "batch, queries, keys, heads, channels",
    [(1, 1, 1, 1, 8), (3, 5, 1, 2, 16), (1, 63, 15, 2, 24), (3, 64, 16, 1, 64), (3, 130, 65, 2, 16)],
)
def test_values_and_gradients(
    either_path: str, batch: int, queries: int, keys: int, heads: int, channels: int
) -> None:
    assert_agrees(batch, queries, keys, heads, channels)


@pytest.mark.parametrize(
    "batch, queries, keys, heads, channels",
    [
        (1, 70, 1051, 2, 64),
        (2, 48, 512, 1, 80),
        (1, 49, 513, 1, 128),
        (1, 47, 511, 3, 32),
        (4, 33, 100, 16, 16),
        (1, 300, 1024, 1, 64),
        (1, 96, 2736, 1, 32),
        (2, 1, 257, 2, 24),
        (1, 97, 256, 1, 8),
        (1, 65, 17, 3, 9),
        (1, 3100, 300, 1, 64),
    ],
)
def test_sizes_around_the_blocks(batch: int, queries: int, keys: int, heads: int, channels: int) -> None:
    """A block has 48 query rows and 512 keys, and a tile 12 rows and 32 keys. The backward pass has blocks of
    256 keys, and packs 3072 queries of 64 channels at a time."""
    assert_agrees(batch, queries, keys, heads, channels)


@pytest.mark.parametrize("batch, length, heads, channels", [(1, 1, 1, 16), (2, 77, 2, 24), (1, 130, 1, 64)])
def test_causal(either_path: str, batch: int, length: int, heads: int, channels: int) -> None:
    assert_agrees(batch, length, length, heads, channels, causal=True)


@pytest.mark.parametrize("length, channels", [(600, 16), (1700, 128)])
def test_causal_over_several_blocks(length: int, channels: int) -> None:
    assert_agrees(1, length, length, 1, channels, causal=True)


def test_later_keys_get_nothing() -> None:
    """Huge values behind the mask must not leak through a rounding error."""
    q, k, v, _ = arrays(1, 6, 6, 8)
    spoiled = v.copy()
    spoiled[:, 3:] = 1e20
    clean, dirty = (
        attention(jt.array(q), jt.array(k), jt.array(x), 2, causal=True).numpy() for x in (v, spoiled)
    )
    assert np.array_equal(clean[:, :3], dirty[:, :3])


@pytest.mark.parametrize("queries, keys", [(20480, 1024), (1024, 20480)])
def test_decoder_of_many_regions(queries: int, keys: int) -> None:
    """1024 regions x 20 classes attend to 1024 patches, and the reverse.

    The probabilities alone would take 84 MB per head. A sample of rows is compared.
    """
    q, k, v, _ = arrays(1, queries, keys, 16)
    sample = np.arange(0, queries, queries // 50)
    expected, _ = attention_float64(q[:, sample], k, v, 1, None, q[:, sample])
    output = attention(jt.array(q), jt.array(k), jt.array(v), 1).numpy()
    assert relative_error(output[:, sample], expected) < limit(5e-6)


def test_large_scores_do_not_overflow(either_path: str) -> None:
    q, k, v, weights = arrays(1, 4, 6, 8)
    q, k = rounded(100 * q), rounded(100 * k)
    expected, expected_gradients = attention_float64(q, k, v, 1, None, weights)
    variables = tuple(jt.array(x) for x in (q, k, v))
    output = attention(*variables, 1)
    assert relative_error(output.numpy(), expected) < limit(2e-3)  # scores of 1e4 carry an error of 1e-3 each
    assert relative_error(gradients(output, weights, variables)[2], expected_gradients[2]) < limit(2e-3)


def test_equal_scores_attend_evenly() -> None:
    """With a thousand equal scores of -1e4, a sum with the wrong first maximum would underflow to zero."""
    q, k, v, _ = arrays(1, 3, 1000, 4)
    q[:], k[:] = -100, 50
    output = attention(jt.array(q), jt.array(k), jt.array(v), 1).numpy()
    assert np.abs(output - v.mean(axis=1, keepdims=True)).max() < limit(2e-6)


def test_parts_of_wider_tensors() -> None:
    """Inputs may be slices and transposes."""
    q, k, v, weights = arrays(2, 9, 13, 32)
    wide = jt.array(np.concatenate([k, v], axis=2))
    turned = jt.array(q.transpose(0, 2, 1).copy())
    output = attention(turned.transpose(0, 2, 1), wide[:, :, :32], wide[:, :, 32:], 2)
    expected, (dq, dk, dv) = attention_float64(q, k, v, 2, None, weights)
    assert relative_error(output.numpy(), expected) < limit(2e-6)
    d_turned, d_wide = gradients(output, weights, (turned, wide))
    assert relative_error(d_turned, dq.transpose(0, 2, 1)) < limit(5e-6)
    assert relative_error(d_wide, np.concatenate([dk, dv], axis=2)) < limit(5e-6)


def test_same_input_same_bits() -> None:
    """Threads add in a fixed order."""
    q, k, v, weights = arrays(1, 200, 700, 32)
    runs = []
    for _ in range(5):
        variables = tuple(jt.array(x) for x in (q, k, v))
        output = attention(*variables, 1)
        runs.append((output.numpy(), *gradients(output, weights, variables)))
    for run in runs[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(run, runs[0]))


@needs_float32
def test_gradient_by_finite_differences() -> None:
    """Moves q, k and v along a random direction, independently of any formula."""
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
    """Dropout of probabilities, whose pattern follows NumPy's global random state."""

    @staticmethod
    def run(seed: int, rate: float, q: np.ndarray, k: np.ndarray, v: np.ndarray) -> np.ndarray:
        np.random.seed(seed)
        return attention(jt.array(q), jt.array(k), jt.array(v), 2, dropout=rate).numpy()

    def test_same_seed_same_pattern(self) -> None:
        q, k, v, _ = arrays(1, 9, 33, 16)
        first, again, other = (self.run(seed, 0.3, q, k, v) for seed in (4, 4, 5))
        assert np.array_equal(first, again)
        assert not np.allclose(first, other, atol=1e-3)

    @needs_float32
    def test_share_dropped_and_mean_kept(self) -> None:
        """For equal scores and v = 1, outputs are (kept keys) / (keys · 0.75), binomial around 1."""
        keys, rate = 400, 0.25
        ones, zeros = np.ones((3, keys, 16), np.float32), np.zeros((3, 100, 16), np.float32)
        # (3, 100, 2): one channel per head.
        output = self.run(0, rate, zeros, np.zeros_like(ones), ones)[:, :, ::8]
        kept = output * keys * (1 - rate)
        assert np.allclose(kept, kept.round(), atol=1e-2)
        deviation = np.sqrt(rate / (1 - rate) / keys)
        assert abs(output.mean() - 1) < 5 * deviation / np.sqrt(output.size)
        assert 0.9 < output.std() / deviation < 1.1
        rows = kept.round().reshape(-1)
        assert abs(np.corrcoef(rows[:-1], rows[1:])[0, 1]) < 0.15  # rows draw independently

    @needs_float32
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

    def test_pattern_is_the_hash_of_the_position(self) -> None:
        """Values and gradients use exactly the factors that the contract of the kernels states."""
        q, k, v, weights = arrays(2, 60, 300, 32)
        variables = tuple(jt.array(x) for x in (q, k, v))
        np.random.seed(3)
        output = attention(*variables, 2, dropout=0.1)
        np.random.seed(3)
        factors = dropout_factors(2, 2, 60, 300, 0.1, np.random.randint(2**31))
        expected, expected_gradients = attention_float64(q, k, v, 2, None, weights, factors)
        assert relative_error(output.numpy(), expected) < limit(2e-6)
        for actual, wanted in zip(gradients(output, weights, variables), expected_gradients):
            assert relative_error(actual, wanted) < limit(5e-6)

    def test_plain_path_drops_the_same_probabilities(self, monkeypatch: pytest.MonkeyPatch) -> None:
        q, k, v, _ = arrays(3, 9, 33, 16)
        fused = self.run(4, 0.3, q, k, v)
        monkeypatch.setenv("JSEG_FUSED", "0")
        assert relative_error(self.run(4, 0.3, q, k, v), fused) < limit(5e-6)

    def test_a_part_of_a_batch_has_its_part_of_the_pattern(self, either_path: str) -> None:
        """The pattern is the same in the forward and backward passes."""
        whole = arrays(3, 9, 33, 16)
        results = self.run_at(0, *whole)
        last = self.run_at(2, *(np.ascontiguousarray(x[2:]) for x in whole))
        for part, all_of_it in zip(last, results):
            assert relative_error(part, all_of_it[2:]) < limit(2e-6)

    @pytest.mark.parametrize("first_sample", [2**32 // 18 - 1, 3 * 2**32 // 18])
    def test_rows_are_counted_in_64_bits(self, either_path: str, first_sample: int) -> None:
        """Images of 18 rows each, of which some lie below and some beyond a multiple of 2³²."""
        q, k, v, weights = arrays(2, 9, 33, 16)
        found = self.run_at(first_sample, q, k, v, weights)
        np.random.seed(4)
        seed = np.random.randint(2**31)
        first, last = 18 * first_sample, 18 * (first_sample + 2) - 1
        assert first >> 32 < last >> 32
        factors = dropout_factors(2, 2, 9, 33, 0.3, seed, first)
        expected, expected_gradients = attention_float64(q, k, v, 2, None, weights, factors)
        for actual, wanted in zip(found, (expected, *expected_gradients)):
            assert relative_error(actual, wanted) < limit(5e-6)

    @staticmethod
    def run_at(
        first_sample: int, q: np.ndarray, k: np.ndarray, v: np.ndarray, weights: np.ndarray
    ) -> tuple[np.ndarray, ...]:
        """Returns output, dq, dk and dv where the first image has this number in the whole batch."""
        set_first_sample(first_sample)
        try:
            np.random.seed(4)
            variables = tuple(jt.array(x) for x in (q, k, v))
            output = attention(*variables, 2, dropout=0.3)
            return (output.numpy(), *gradients(output, weights, variables))
        finally:
            set_first_sample(0)

    def test_plain_path_keeps_the_mean(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("JSEG_FUSED", "0")
        zeros, ones = np.zeros((3, 100, 16), np.float32), np.ones((3, 400, 16), np.float32)
        output = self.run(0, 0.25, zeros, np.zeros_like(ones), ones)
        assert output.std() > 0.01 and abs(output.mean() - 1) < 0.01


def test_frozen_inputs_give_the_same_gradient() -> None:
    """Only v is trained, and q and k carry no gradient."""
    q, k, v, weights = arrays(1, 5, 6, 16)
    expected = attention_float64(q, k, v, 2, None, weights)[1][2]
    value = jt.array(v)
    output = attention(jt.array(q).stop_grad(), jt.array(k).stop_grad(), value, 2)
    assert relative_error(gradients(output, weights, (value,))[0], expected) < limit(5e-6)


@pytest.mark.parametrize(
    "shapes, heads, words",
    [
        (((1, 4, 8), (1, 5, 8), (1, 6, 8)), 2, "(B, Lk, C)"),
        (((4, 8), (4, 8), (4, 8)), 2, "(B, Lq, C)"),
        (((1, 4, 8), (2, 5, 8), (2, 5, 8)), 2, "2 heads"),
        (((1, 4, 8), (1, 5, 8), (1, 5, 8)), 3, "3 heads"),
        (((1, 4, 8), (1, 5, 8), (1, 5, 8)), 0, "0 (int)"),
    ],
)
def test_shapes_that_do_not_fit(shapes: tuple[tuple[int, ...], ...], heads: int, words: str) -> None:
    with pytest.raises(ValueError) as failure:
        ops.attention(*(jt.zeros(shape) for shape in shapes), heads)
    assert words in str(failure.value)


def test_wrong_length_dropout_and_type() -> None:
    q = jt.zeros((1, 4, 8))
    with pytest.raises(ValueError, match=r"\bcausal\b.*\bq \[1, 4, 8\], k \[1, 5, 8\]"):
        ops.attention(q, jt.zeros((1, 5, 8)), jt.zeros((1, 5, 8)), 2, causal=True)
    with pytest.raises(ValueError, match=r"\bdropout\b.*\b1\.0\b"):
        ops.attention(q, q, q, 2, dropout=1.0)
    with pytest.raises(ValueError, match="float32, int32"):
        ops.attention(q, q, q.int32(), 2)
