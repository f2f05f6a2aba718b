"""The region mask on cases that can be checked by hand."""

import numpy as np
import pytest

from jseg.models.backbones.positions import resize_positions
from jseg.models.backbones.region_mask import (MASKED, additive_mask, region_attention_allowed, region_grid,
                                               window_index)


def test_figure_5_windows():
    """4x4 patches, 2x2 regions: the example of the paper's Fig. 5."""
    expected = [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]
    assert window_index((4, 4), (2, 2)).reshape(4, 4).tolist() == expected


def test_uneven_windows_follow_the_floor_rule():
    """Rows 0..4 of 5 in 2 windows: floor(2y/5) = 0 0 0 1 1; columns 0..2: floor(2x/3) = 0 0 1."""
    expected = [[0, 0, 1]] * 3 + [[2, 2, 3]] * 2
    assert window_index((5, 3), (2, 2)).reshape(5, 3).tolist() == expected


def test_whole_mask_of_two_patches_and_two_regions():
    """Tokens: CLS, prompt, patch 0, patch 1, region 0, region 1 (1x2 patches, 1x2 regions)."""
    expected = np.array([[1, 1, 1, 1, 0, 0],
                         [1, 1, 1, 1, 0, 0],
                         [1, 1, 1, 1, 1, 0],
                         [1, 1, 1, 1, 0, 1],
                         [0, 0, 1, 0, 1, 0],
                         [0, 0, 0, 1, 0, 1]], dtype=bool)
    assert np.array_equal(region_attention_allowed((1, 2), (1, 2), 2), expected)


@pytest.mark.parametrize("grid, regions, prefix", [((4, 4), (2, 2), 4), ((5, 3), (2, 2), 1), ((3, 7), (3, 3), 11),
                                                   ((2, 3), (4, 4), 3), ((3, 3), (1, 1), 2)])
def test_invariants(grid, regions, prefix):
    allowed = region_attention_allowed(grid, regions, prefix)
    base, count = prefix + grid[0] * grid[1], regions[0] * regions[1]
    assert allowed.shape == (base + count, base + count)
    assert allowed.any(1).all(), "a row that sees nothing would be NaN in a softmax"
    assert np.array_equal(allowed, allowed.T)
    assert (allowed[prefix:base, base:].sum(1) == 1).all(), "every patch has one region"
    assert not allowed[:prefix, base:].any()


def test_without_regions_everything_is_seen():
    assert region_attention_allowed((2, 3), (0, 0), 3).all()


def test_additive_values_are_finite():
    mask = additive_mask(np.array([[True, False]]))
    assert mask.dtype == np.float32 and mask.tolist() == [[0.0, np.float32(MASKED)]] and np.isfinite(mask).all()


def test_number_of_regions_must_be_a_square():
    assert region_grid(1) == (1, 1) and region_grid(1024) == (32, 32)
    for bad in (0, -4, 2, 15):
        with pytest.raises(ValueError, match="num_regions"):
            region_grid(bad)


def test_bad_sizes_are_refused():
    with pytest.raises(ValueError):
        region_attention_allowed((0, 4), (1, 1), 1)


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
    with pytest.raises(ValueError, match="rows"):
        resize_positions(np.zeros((5, 2)), (3, 4), (6, 8))
