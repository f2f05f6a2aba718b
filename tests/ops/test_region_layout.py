"""The attention mask of region layouts, on cases that can be checked by hand."""

import re

import numpy as np
import pytest

from jseg.ops.region_attention.layout import RegionLayout, region_grid, window_index


def test_figure_5_windows():
    """Checks the example of the paper's Fig. 5, with 4x4 patches and 2x2 regions."""
    expected = [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]
    assert window_index((4, 4), (2, 2)).reshape(4, 4).tolist() == expected


def test_uneven_windows_follow_the_floor_rule():
    """5 rows in 2 windows give floor(2y/5) = 0 0 0 1 1, and 3 columns give floor(2x/3) = 0 0 1."""
    expected = [[0, 0, 1]] * 3 + [[2, 2, 3]] * 2
    assert window_index((5, 3), (2, 2)).reshape(5, 3).tolist() == expected


def test_whole_mask_of_two_patches_and_two_regions():
    """The tokens are CLS, prompt, patch 0, patch 1, region 0 and region 1 (1x2 patches, 1x2 regions)."""
    expected = np.array(
        [
            [1, 1, 1, 1, 0, 0],
            [1, 1, 1, 1, 0, 0],
            [1, 1, 1, 1, 1, 0],
            [1, 1, 1, 1, 0, 1],
            [0, 0, 1, 0, 1, 0],
            [0, 0, 0, 1, 0, 1],
        ],
        dtype=bool,
    )
    assert np.array_equal(RegionLayout((1, 2), (1, 2), 2).allowed(), expected)


@pytest.mark.parametrize(
    "grid, regions, prefix",
    [
        ((4, 4), (2, 2), 4),
        ((5, 3), (2, 2), 1),
        ((3, 7), (3, 3), 11),
        ((2, 3), (4, 4), 3),
        ((3, 3), (1, 1), 2),
    ],
)
def test_invariants(grid, regions, prefix):
    allowed = RegionLayout(grid, regions, prefix).allowed()
    base, count = prefix + grid[0] * grid[1], regions[0] * regions[1]
    assert allowed.shape == (base + count, base + count)
    assert allowed.any(1).all(), "a row that sees nothing would be NaN in a softmax"
    assert np.array_equal(allowed, allowed.T)
    assert (allowed[prefix:base, base:].sum(1) == 1).all(), "every patch has one region"
    assert not allowed[:prefix, base:].any()


def test_without_regions_everything_is_seen():
    assert RegionLayout((2, 3), (0, 0), 3).allowed().all()


def test_number_of_regions_must_be_a_square():
    assert region_grid(1) == (1, 1) and region_grid(1024) == (32, 32)
    for bad in (0, -4, 2, 15):
        with pytest.raises(ValueError, match="num_regions"):
            region_grid(bad)


@pytest.mark.parametrize(
    "grid, regions, prefix, skipped",
    [((0, 4), (1, 1), 1, 0), ((2, 2), (-1, 1), 1, 0), ((2, 2), (1, 1), 2, 3)],
)
def test_bad_sizes_are_refused(grid, regions, prefix, skipped):
    named = rf"{re.escape(str(grid))}.*{re.escape(str(regions))}.*\b{prefix}\b.*\b{skipped}\b"
    with pytest.raises(ValueError, match=named):
        RegionLayout(grid, regions, prefix, skipped)
