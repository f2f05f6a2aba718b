"""Self-attention mask that ties every region token to its own window of the image (paper, Fig. 5)."""

from typing import Tuple

import numpy as np

MASKED = -1e30
"""Additive value of a forbidden pair. Finite: the kernels are built without infinities (-Ofast)."""


def window_index(grid: Tuple[int, int], regions: Tuple[int, int]) -> np.ndarray:
    """Region of every patch, row-major.

    Args:
        grid: (h, w) in patches.
        regions: (mh, mw) windows. Patch row y lies in window row floor(y·mh / h), columns alike, so
            windows differ by one row or column where h is no multiple of mh. With more windows than
            patches some windows hold no patch.

    Returns:
        (h·w,) int64, values in [0, mh·mw).
    """
    (height, width), (rows, columns) = grid, regions
    row = np.arange(height) * rows // height
    column = np.arange(width) * columns // width
    return (row[:, None] * columns + column[None, :]).reshape(-1)


def region_attention_allowed(grid: Tuple[int, int], regions: Tuple[int, int], num_prefix: int) -> np.ndarray:
    """Which token may attend to which.

    Token order is [prefix | patches | regions]; the prefix is CLS and the prompts. Prefix and patches see
    prefix and patches. A patch also sees the one region token of its window; a region token sees the
    patches of its window and itself. Prefix and regions never meet.

    Args:
        grid: (h, w) in patches.
        regions: (mh, mw) region tokens; (0, 0) for none.
        num_prefix: number of tokens before the patches.

    Returns:
        (E, E) bool, E = num_prefix + h·w + mh·mw, True = row may attend to column.

    Raises:
        ValueError: for an empty grid or negative counts.
    """
    num_patches, num_regions = grid[0] * grid[1], regions[0] * regions[1]
    if min(grid) < 1 or min(regions) < 0 or num_prefix < 0:
        raise ValueError(f"no attention mask for grid {grid}, regions {regions}, {num_prefix} prefix tokens: "
                         "sizes must be positive")
    base = num_prefix + num_patches
    allowed = np.zeros((base + num_regions, base + num_regions), dtype=bool)
    allowed[:base, :base] = True
    if num_regions:
        member = window_index(grid, regions)[:, None] == np.arange(num_regions)[None, :]
        allowed[num_prefix:base, base:] = member
        allowed[base:, num_prefix:base] = member.T
        allowed[base:, base:] = np.eye(num_regions, dtype=bool)
    return allowed


def additive_mask(allowed: np.ndarray) -> np.ndarray:
    """(E, E) float32 mask to add to attention scores: 0 where allowed, `MASKED` elsewhere."""
    return np.where(allowed, np.float32(0), np.float32(MASKED))


def region_grid(num_regions: int) -> Tuple[int, int]:
    """(m, m) of M = m² region tokens.

    Raises:
        ValueError: if M is not a positive square.
    """
    side = int(round(max(num_regions, 0) ** 0.5))
    if side < 1 or side * side != num_regions:
        raise ValueError(f"num_regions is {num_regions}: it must be a square such as 1, 4, 16, 64")
    return side, side
