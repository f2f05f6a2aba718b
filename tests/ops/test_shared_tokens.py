"""Region attention of rows that all images share, against float64 NumPy with the dense mask."""

import re

import numpy as np
import pytest
from number_formats import limit, rounded
from op_references import region_attention_float64, relative_error

from jseg.ops import RegionLayout, shared_region_attention
from jseg.runtime.backend import jt


def shared_tokens(layout: RegionLayout, all_but_patches: bool) -> np.ndarray:
    prompts = np.arange(layout.prefix - layout.skipped, layout.prefix)
    if not all_but_patches:
        return prompts
    return np.concatenate([np.arange(layout.prefix), np.arange(layout.base, layout.tokens)])


def split(batch: int, layout: RegionLayout, width: int, all_but_patches: bool):
    """Returns qkv (B, E, 3·width) with rows that are the same for all images, its other rows, and these."""
    qkv = rounded(np.random.default_rng(0).standard_normal((batch, layout.tokens, 3 * width)))
    shared = shared_tokens(layout, all_but_patches)
    qkv[:, shared] = qkv[0, shared]
    return qkv, np.delete(qkv, shared, 1), qkv[0, shared]


@pytest.mark.parametrize("all_but_patches", [False, True])
@pytest.mark.parametrize(
    "grid, regions, prefix, skipped, batch, heads, channels",
    [
        ((4, 4), (2, 2), 11, 10, 1, 1, 16),
        ((5, 7), (3, 3), 2, 1, 2, 3, 9),
        ((3, 2), (4, 4), 4, 3, 3, 3, 8),
        ((6, 6), (0, 0), 11, 10, 2, 2, 16),
        ((9, 14), (32, 32), 101, 100, 2, 2, 16),
        ((32, 32), (4, 4), 40, 40, 1, 2, 64),
        ((6, 5), (2, 5), 3, 2, 4, 1, 80),
    ],
)
def test_values(
    either_path: str,
    all_but_patches: bool,
    grid: tuple[int, int],
    regions: tuple[int, int],
    prefix: int,
    skipped: int,
    batch: int,
    heads: int,
    channels: int,
) -> None:
    layout = RegionLayout(grid, regions, prefix, skipped)
    qkv, own, shared = split(batch, layout, heads * channels, all_but_patches)
    wanted = region_attention_float64(qkv, heads, layout, np.zeros((batch, layout.tokens, heads * channels)))
    with jt.no_grad():
        found = shared_region_attention(jt.array(own), jt.array(shared), heads, layout).numpy()
    assert relative_error(found, np.delete(wanted[0], shared_tokens(layout, False), 1)) < limit(2e-6)


def test_no_images(either_path: str) -> None:
    layout = RegionLayout((4, 4), (2, 2), 3, 2)
    output = shared_region_attention(jt.zeros((0, 21, 24)), jt.zeros((2, 24)), 2, layout)
    assert tuple(output.shape) == (0, 21, 8) and output.numpy().size == 0


@pytest.mark.parametrize(
    "own, shared, heads",
    [
        ((1, 21, 24), (3, 24), 2),  # not the prompts
        ((1, 16, 24), (2, 24), 2),  # not all others
        ((1, 20, 24), (3, 24), 2),
        ((1, 21, 24), (2, 12), 2),
        ((1, 21, 24), (2, 24), 3),
        ((1, 21, 0), (2, 0), 1),
        ((21, 24), (2, 24), 2),
        ((1, 21, 24), (1, 2, 24), 2),
    ],
)
def test_shapes_that_do_not_fit(own: tuple[int, ...], shared: tuple[int, ...], heads: int) -> None:
    layout = RegionLayout((4, 4), (2, 2), 3, 2)
    with pytest.raises(ValueError, match=rf"23 rows .*{re.escape(f'{list(own)} and {list(shared)}')}"):
        shared_region_attention(jt.zeros(own), jt.zeros(shared), heads, layout)


def test_types_that_do_not_fit() -> None:
    layout = RegionLayout((4, 4), (2, 2), 3, 2)
    with pytest.raises(ValueError, match="float16, float32"):
        shared_region_attention(jt.zeros((1, 21, 24)), jt.zeros((2, 24), dtype="float16"), 2, layout)
    with pytest.raises(TypeError, match="ndarray"):
        shared_region_attention(np.zeros((1, 21, 24)), np.zeros((2, 24)), 2, layout)
