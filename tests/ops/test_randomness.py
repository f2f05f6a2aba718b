"""Dropout patterns: the share that is kept, independence, and parts of a batch."""

import numpy as np
import pytest
from op_references import dropout_factors

from jseg.ops.randomness import keep_mask, set_first_sample


@pytest.fixture
def position():
    """Sets the position of the first sample, and resets it to 0 afterwards."""
    yield set_first_sample
    set_first_sample(0)


def test_the_definition():
    mask = keep_mask((4, 3, 50), 0.3, 123456789).numpy()
    np.testing.assert_array_equal(
        mask.reshape(1, 1, 12, 50), dropout_factors(1, 1, 12, 50, 0.3, 123456789) > 0
    )


def test_share_and_independence():
    mask = keep_mask((4, 50, 500), 0.25, 7).numpy().reshape(200, 500)
    assert mask.mean() == pytest.approx(0.75, abs=5 * np.sqrt(0.25 * 0.75 / mask.size))
    assert abs(np.corrcoef(mask[:-1].ravel(), mask[1:].ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(mask[:, :-1].ravel(), mask[:, 1:].ravel())[0, 1]) < 0.02
    other = keep_mask((4, 50, 500), 0.25, 8).numpy().reshape(200, 500)
    assert abs(np.corrcoef(mask.ravel(), other.ravel())[0, 1]) < 0.02


def test_parts_make_the_whole(position):
    whole = keep_mask((4, 3, 50), 0.3, 5).numpy()
    parts = []
    for first in (0, 2):
        position(first)
        parts.append(keep_mask((2, 3, 50), 0.3, 5).numpy())
    np.testing.assert_array_equal(np.concatenate(parts), whole)
