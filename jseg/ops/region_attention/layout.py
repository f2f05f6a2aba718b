"""Which token of the region-level bridge attends to which (paper, Fig. 5)."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RegionLayout:
    """Order and number of tokens: [prefix | patches, row-major | regions, row-major].

    grid: (h, w) in patches. regions: (mh, mw), (0, 0) for none. prefix: tokens before the patches, CLS and
    prompts. skipped: the last so many tokens of the prefix serve as keys only; their output is 0 (what a
    layer computes at a prompt is thrown away by the next one, which brings its own prompts).

    Raises:
        ValueError: for sizes that are no integers, an empty grid, negative counts, or more skipped tokens
            than the prefix holds.
    """

    grid: tuple[int, int]
    regions: tuple[int, int]
    prefix: int
    skipped: int = 0

    def __post_init__(self) -> None:
        sizes = (*self.grid, *self.regions, self.prefix, self.skipped)
        if not all(isinstance(size, int) for size in sizes):
            kinds = ", ".join(sorted({type(size).__name__ for size in sizes}))
            raise ValueError(
                f"grid {self.grid}, regions {self.regions}, prefix {self.prefix} and skipped "
                f"{self.skipped} must hold numbers of type int; got {kinds}"
            )
        if min(self.grid) < 1 or min(self.regions) < 0 or not 0 <= self.skipped <= self.prefix:
            raise ValueError(
                f"no attention over grid {self.grid}, regions {self.regions}, {self.prefix} prefix "
                f"tokens, {self.skipped} of them skipped: sizes must be positive, and only tokens of "
                "the prefix can be skipped"
            )

    @property
    def base(self) -> int:
        """Tokens before the regions."""
        return self.prefix + self.grid[0] * self.grid[1]

    @property
    def tokens(self) -> int:
        """E, all tokens."""
        return self.base + self.regions[0] * self.regions[1]

    def allowed(self) -> np.ndarray:
        """(E, E) bool, True = row may attend to column.

        Prefix and patches see prefix and patches. A patch also sees the one region token of its window; a
        region token sees the patches of its window and itself. Prefix and regions never meet.
        """
        allowed = np.zeros((self.tokens, self.tokens), dtype=bool)
        allowed[: self.base, : self.base] = True
        if self.tokens > self.base:
            number = np.arange(self.tokens - self.base)
            member = window_index(self.grid, self.regions)[:, None] == number[None, :]
            allowed[self.prefix : self.base, self.base :] = member
            allowed[self.base :, self.prefix : self.base] = member.T
            allowed[self.base :, self.base :] = np.eye(len(number), dtype=bool)
        return allowed


def window_index(grid: tuple[int, int], regions: tuple[int, int]) -> np.ndarray:
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


def region_grid(num_regions: int) -> tuple[int, int]:
    """(m, m) of M = m² region tokens.

    Raises:
        ValueError: if M is not a positive square.
    """
    side = round(max(num_regions, 0) ** 0.5)
    if side < 1 or side * side != num_regions:
        raise ValueError(f"num_regions is {num_regions}: it must be a square such as 1, 4, 16, 64")
    return side, side
