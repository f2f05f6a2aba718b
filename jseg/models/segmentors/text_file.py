"""Text embeddings of class words from a `.npy` file, as the
releases publish them (C, 512) in half precision."""

from collections.abc import Sequence

import numpy as np


def read_text_embeddings(path: str, class_names: Sequence[str], width: int) -> np.ndarray:
    """Embeddings of C class words as they are stored. Half precision leaves the lengths of the rows of the
    releases between 0.9995 and 1.0005.

    The file holds no words: row k must belong to class k of the dataset.

    Args:
        path: `.npy` file of floating-point numbers, one row for each class.
        class_names: C class words.
        width: joint width d of the CLIP in use.

    Returns:
        (C, d) float32.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not such a file, another number of rows or columns, a row that is not finite or all zero.
    """
    mend = "give a .npy file with one row for each class, or leave model.text_embeddings out to compute them"
    try:
        values = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise FileNotFoundError(f"text_embeddings: there is no file {path}; {mend}") from None
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"text_embeddings: {path} is not a readable .npy file ({error}); {mend}") from error
    if not isinstance(values, np.ndarray) or not np.issubdtype(values.dtype, np.floating):
        raise ValueError(f"text_embeddings: {path} does not hold one array of floating-point numbers; {mend}")
    if values.shape != (len(class_names), width):
        raise ValueError(
            f"text_embeddings: {path} has shape {values.shape}, but {len(class_names)} classes and this "
            f"CLIP's width need ({len(class_names)}, {width}); give the file of this dataset and CLIP, or "
            "leave model.text_embeddings out to compute them"
        )
    values = values.astype(np.float32)
    lengths = np.linalg.norm(values, axis=1)
    wrong = np.flatnonzero(~np.isfinite(lengths) | (lengths == 0))
    if wrong.size:
        row = int(wrong[0])
        raise ValueError(
            f"text_embeddings: {path}, row {row} (class '{class_names[row]}') is not finite or all zero; "
            "write the file again"
        )
    return values


def normalized(embeddings: np.ndarray) -> np.ndarray:
    """(C, d) with rows of length 1."""
    return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
