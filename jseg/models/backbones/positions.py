"""Resizing of CLIP's table of position embeddings to another grid of patches (DESIGN: bilinear, twice)."""

import numpy as np

from jseg.checkpoints.positions import resize_position_table


def resize_positions(table: np.ndarray, old: tuple[int, int], new: tuple[int, int]) -> np.ndarray:
    """`resize_position_table` with the grid of the table given, in the type that models compute in.

    Args:
        table: (1 + old_h·old_w, D), CLS first, patches row-major.
        old: grid of the table.
        new: (h, w) wanted.

    Returns:
        (1 + h·w, D) float32.

    Raises:
        ValueError: if the table does not have 1 + old_h·old_w rows.
    """
    if table.shape[0] != 1 + old[0] * old[1]:
        raise ValueError(
            f"a position table of {table.shape[0]} rows does not fit a grid of {old[0]}x{old[1]} patches"
        )
    return resize_position_table(np.asarray(table, dtype=np.float32), new, old)
