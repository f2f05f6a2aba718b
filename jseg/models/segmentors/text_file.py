"""Text embeddings of class words from a `.npy` file, as the
releases publish them (C, 512) in half precision."""

from collections.abc import Sequence

import numpy as np


def read_text_embeddings(path: str, class_names: Sequence[str], width: int) -> np.ndarray:
    """Reads embeddings of C class words as they are stored. In half precision, the norms in the releases lie
    between 0.9995 and 1.0005.

    The file does not contain the words, so row k must belong to class k of the dataset.

    Args:
        path: `.npy` file of floating-point numbers, one row for each class.
        class_names: C class words.
        width: joint width d of the CLIP in use.

    Returns:
        (C, d) float32.

    Raises:
        FileNotFoundError: if the file is missing.
        ValueError: if it is not such a file, has another shape, or a row is not finite or all zero.
    """
    fix = "give a .npy file with one row for each class, or leave model.text_embeddings out to compute them"
    try:
        values = np.load(path, allow_pickle=False)
    except FileNotFoundError:
        raise FileNotFoundError(f"text_embeddings: there is no file {path}; {fix}") from None
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"text_embeddings: {path} is not a readable .npy file ({error}); {fix}") from error
    if not isinstance(values, np.ndarray) or not np.issubdtype(values.dtype, np.floating):
        raise ValueError(
            f"text_embeddings: {path} does not contain one array of floating-point numbers; {fix}"
        )
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
    """Returns (C, d) embeddings with rows of norm 1."""
    return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
