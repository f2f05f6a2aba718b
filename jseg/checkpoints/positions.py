"""Resizes CLIP's table of position embeddings to another grid of patches."""

import numpy as np

from jseg.interpolation import cubic_matrix, interpolation_matrix


def square_grid(table: np.ndarray) -> tuple[int, int]:
    """Returns the grid (h, w) of a square table of (1 + h·w, D) rows, CLS first.

    Raises:
        ValueError: if the table is not square.
    """
    side = round(max(table.shape[0] - 1, 0) ** 0.5) if table.ndim == 2 else 0
    if side < 1 or side * side + 1 != table.shape[0]:
        raise ValueError(f"a position table of shape {table.shape} is not CLS plus a square grid of patches")
    return side, side


MODES = {"bilinear": interpolation_matrix, "bicubic": cubic_matrix}


def resize_positions(
    table: np.ndarray, new: tuple[int, int], old: tuple[int, int] | None = None, mode: str = "bilinear"
) -> np.ndarray:
    """Resizes the patch rows (half-pixel centres, no antialiasing, `align_corners=False`). The CLS row is
    kept.

    Args:
        table: (1 + old_h·old_w, D), CLS first, patches row-major.
        new: (h, w) of the new grid, in patches.
        old: grid of the table, by default square.
        mode: 'bilinear' or 'bicubic' (a = -0.75).

    Returns:
        (1 + h·w, D) with the table's dtype, or the table itself if the grid is already right.

    Raises:
        ValueError: if the table does not match the grid.
    """
    old = square_grid(table) if old is None else (int(old[0]), int(old[1]))
    if table.ndim != 2 or table.shape[0] != 1 + old[0] * old[1] or min(*old, *new) < 1:
        raise ValueError(
            f"a position table of shape {table.shape} does not match a grid of {old[0]}x{old[1]} patches "
            f"(wanted: {new[0]}x{new[1]})"
        )
    if old == tuple(new):
        return table
    patches = table[1:].astype(np.float64).reshape(old[0], old[1], -1)
    patches = np.einsum("yi,ijd->yjd", MODES[mode](old[0], new[0]), patches)
    patches = np.einsum("xj,yjd->yxd", MODES[mode](old[1], new[1]), patches)
    return np.concatenate([table[:1], patches.reshape(new[0] * new[1], -1).astype(table.dtype)])
