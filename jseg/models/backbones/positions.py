"""Resizing of CLIP's table of position embeddings to another grid of patches (DESIGN: bilinear, twice)."""

from typing import Tuple

import numpy as np

from jseg.ops.basic import interpolation_matrix


def resize_positions(table: np.ndarray, old: Tuple[int, int], new: Tuple[int, int]) -> np.ndarray:
    """Bilinear resize (half-pixel centres, borders clamped) of the patch part; the CLS row is kept.

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
        raise ValueError(f"a position table of {table.shape[0]} rows does not fit a grid of "
                         f"{old[0]}x{old[1]} patches")
    table = np.asarray(table, dtype=np.float32)
    if tuple(old) == tuple(new):
        return table
    patches = table[1:].reshape(old[0], old[1], -1)
    rows, columns = interpolation_matrix(old[0], new[0]), interpolation_matrix(old[1], new[1])
    patches = np.einsum("yi,xj,ijd->yxd", rows, columns, patches, optimize=True)
    return np.concatenate([table[:1], patches.reshape(new[0] * new[1], -1)]).astype(np.float32)
