"""Layout of the region-level bridge's tokens: which token attends to which (paper, Fig. 5)."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class RegionLayout:
    """Order and number of the tokens: [prefix | patches, row-major | regions, row-major].

    Attributes:
        grid: (h, w) in patches.
        regions: (mh, mw) windows, or (0, 0) for none.
        prefix: number of tokens before the patches, which are CLS and the prompts.
        skipped: number of tokens at the end of the prefix that serve as keys only. Their output is 0. These
            are the prompts, whose output the next layer would discard in favour of its own prompts.

    Raises:
        ValueError: if a size is not an integer, the grid is empty, a count is negative, or more tokens are
            skipped than the prefix holds.
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
                f"{self.skipped} must be integers of type int; got {kinds}"
            )
        if min(self.grid) < 1 or min(self.regions) < 0 or not 0 <= self.skipped <= self.prefix:
            raise ValueError(
                f"attention is not possible over grid {self.grid}, regions {self.regions} and {self.prefix} "
                f"prefix tokens, {self.skipped} of them skipped: sizes must be positive, and only tokens of "
                "the prefix can be skipped"
            )

    @property
    def base(self) -> int:
        """Number of tokens before the regions."""
        return self.prefix + self.grid[0] * self.grid[1]

    @property
    def tokens(self) -> int:
        """E, the number of all tokens."""
        return self.base + self.regions[0] * self.regions[1]

    def numbers(self) -> dict[str, int]:
        """The sizes as the kernels read them, by name."""
        return {
            "grid_h": self.grid[0],
            "grid_w": self.grid[1],
            "regions_h": self.regions[0],
            "regions_w": self.regions[1],
            "prefix": self.prefix,
            "skipped": self.skipped,
        }

    def allowed(self) -> np.ndarray:
        """Returns the attention mask, bool (E, E), True where the row may attend to the column.

        Prefix and patches see prefix and patches. A patch also sees the one region token of its window. A
        region token sees the patches of its window and itself. Prefix and regions never see each other.
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
    """Returns the region of every patch, row-major.

    Args:
        grid: (h, w) in patches.
        regions: (mh, mw) windows. Patch row y lies in window row floor(y·mh / h), and columns likewise, so
            windows differ by one row or column where h is not a multiple of mh. With more windows than
            patches, some windows hold no patch.

    Returns:
        (h·w,) int64, values in [0, mh·mw).
    """
    (height, width), (rows, columns) = grid, regions
    row = np.arange(height) * rows // height
    column = np.arange(width) * columns // width
    return (row[:, None] * columns + column[None, :]).reshape(-1)


def region_grid(num_regions: int) -> tuple[int, int]:
    """Returns the grid (m, m) of M = m² region tokens.

    Raises:
        ValueError: if M is not the square of a positive integer.
    """
    side = round(max(num_regions, 0) ** 0.5)
    if side < 1 or side * side != num_regions:
        raise ValueError(f"num_regions is {num_regions}: it must be a square number such as 1, 4, 16 or 64")
    return side, side
