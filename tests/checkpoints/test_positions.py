"""Position tables on other grids."""

import numpy as np
import pytest

from jseg.checkpoints.positions import resize_positions, square_grid


def test_two_points_to_four_by_hand() -> None:
    """Half-pixel centres: the four new points lie at -0.25, 0.25,
    0.75, 1.25 of the old grid, ends clamped."""
    table = np.array([[9.0], [0.0], [1.0]])  # CLS, then a grid of 1 x 2
    np.testing.assert_allclose(resize_positions(table, (1, 4), old=(1, 2))[:, 0], [9, 0, 0.25, 0.75, 1])


def test_shrinking_samples_without_averaging() -> None:
    """4 -> 2: centres 0.5 and 2.5. PyTorch's bilinear interpolation without antialiasing does the same."""
    table = np.array([[0.0], [1.0], [2.0], [4.0], [8.0]])
    np.testing.assert_allclose(resize_positions(table, (2, 1), old=(4, 1))[1:, 0], [1.5, 6.0])


@pytest.mark.parametrize(
    "old, new", [((14, 14), (32, 32)), ((7, 7), (14, 20)), ((24, 24), (5, 3)), ((1, 1), (3, 2))]
)
def test_a_constant_and_the_cls_row_survive_any_grid(old, new) -> None:
    table = np.full((1 + old[0] * old[1], 3), 2.5, np.float32)
    table[0] = 7
    result = resize_positions(table, new)
    assert result.shape == (1 + new[0] * new[1], 3) and result.dtype == np.float32
    np.testing.assert_array_equal(result[0], 7)
    np.testing.assert_allclose(result[1:], 2.5, rtol=1e-6)


def test_axes_are_not_exchanged() -> None:
    table = np.concatenate([[0.0], np.repeat(np.arange(3.0), 3)])[:, None]  # value = row
    result = resize_positions(table, (3, 6))[1:, 0].reshape(3, 6)
    np.testing.assert_allclose(result, np.repeat(np.arange(3.0)[:, None], 6, axis=1))


def test_the_same_grid_is_the_same_table() -> None:
    table = np.random.default_rng(0).normal(size=(10, 2))
    assert resize_positions(table, (3, 3)) is table and square_grid(table) == (3, 3)


def test_a_table_that_is_not_square_needs_its_grid() -> None:
    with pytest.raises(ValueError, match="square"):
        resize_positions(np.zeros((7, 2)), (2, 2))
    with pytest.raises(ValueError, match="2x2"):
        resize_positions(np.zeros((7, 2)), (2, 2), old=(2, 2))
    assert resize_positions(np.zeros((7, 2)), (2, 2), old=(2, 3)).shape == (5, 2)


def test_the_grid_of_a_table_that_is_not_square() -> None:
    """A ramp along columns stays constant along rows."""
    ramp = np.tile(np.arange(4.0), (3, 1)).reshape(-1, 1)
    resized = resize_positions(np.concatenate([[[7.0]], ramp]), (6, 8), old=(3, 4))[1:].reshape(6, 8)
    assert np.allclose(resized, resized[:1]) and (np.diff(resized[0]) >= 0).all()
