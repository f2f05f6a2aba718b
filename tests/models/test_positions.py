"""Resized position tables on cases that can be checked by hand."""

import numpy as np
import pytest

from jseg.models.backbones.positions import resize_positions


def test_positions_by_hand():
    """1x2 -> 1x4 with half-pixel centres: sources -0.25, 0.25, 0.75, 1.25, clamped to 0 and 1."""
    table = np.array([[9.0], [0.0], [1.0]])
    assert resize_positions(table, (1, 2), (1, 4))[:, 0].tolist() == [9.0, 0.0, 0.25, 0.75, 1.0]
    assert np.array_equal(resize_positions(table, (1, 2), (1, 2)), table.astype(np.float32))


def test_positions_rows_and_columns_are_not_mixed_up():
    """A ramp along columns stays constant along rows."""
    ramp = np.tile(np.arange(4.0), (3, 1)).reshape(-1, 1)
    resized = resize_positions(np.concatenate([[[7.0]], ramp]), (3, 4), (6, 8))[1:].reshape(6, 8)
    assert np.allclose(resized, resized[:1]) and (np.diff(resized[0]) >= 0).all()
    with pytest.raises(ValueError, match=r"\b5\b.*\b3\D+4\b"):
        resize_positions(np.zeros((5, 2)), (3, 4), (6, 8))
