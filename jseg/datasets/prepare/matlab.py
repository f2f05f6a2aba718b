"""Reads the label maps in MATLAB files of SBD and of PASCAL Context, with SciPy (the extra `datasets`)."""

from pathlib import Path
from typing import Any

import numpy as np


def require_scipy() -> None:
    """Raises ValueError if SciPy is missing, before the work starts."""
    try:
        import scipy.io  # noqa: F401
    except ImportError:
        raise ValueError(
            "reading .mat files needs SciPy: pip install -e '.[datasets]' (or pip install scipy)"
        ) from None


def read_sbd(path: Path) -> np.ndarray:
    """Returns `GTcls.Segmentation` of an SBD file, uint8 (H, W), 0..20.

    Raises:
        FileNotFoundError: if the file is missing. ValueError: if it is damaged, or not an SBD class
            annotation.
    """
    struct = _load(path, "GTcls")
    try:
        label = struct[0, 0]["Segmentation"]
    except (IndexError, ValueError, TypeError):
        raise ValueError(
            f"{path}: this file has no GTcls.Segmentation; extract it from the folder cls of "
            "benchmark.tgz again"
        ) from None
    return _checked(path, label, 20)


def read_label_map(path: Path) -> np.ndarray:
    """Returns `LabelMap` of a PASCAL Context file, uint16 (H, W), 0..459.

    Raises:
        FileNotFoundError: if the file is missing. ValueError: if it is damaged, or has no LabelMap.
    """
    return _checked(path, _load(path, "LabelMap"), 459).astype(np.uint16)


def _load(path: Path, variable: str) -> Any:
    from scipy.io import loadmat

    try:
        content: dict[str, Any] = loadmat(str(path), variable_names=[variable])
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: this annotation does not exist; unpack its archive again") from None
    except (
        Exception
    ) as problem:  # SciPy raises many types for a damaged file: IndexError, zlib.error, MemoryError ...
        reason = str(problem) or type(problem).__name__
        raise ValueError(
            f"{path}: this MATLAB file cannot be read ({reason}); unpack its archive again"
        ) from problem
    if variable not in content:
        raise ValueError(f"{path}: this MATLAB file has no {variable}; unpack its archive again")
    return content[variable]


def _checked(path: Path, label: np.ndarray, highest: int) -> np.ndarray:
    if label.ndim != 2 or label.dtype.kind not in "ui" or not label.size:
        raise ValueError(
            f"{path}: the labels are {label.dtype} of shape {label.shape}, not integers of shape (H, W)"
        )
    if label.min() < 0 or label.max() > highest:
        wrong = int(label.max() if label.max() > highest else label.min())
        raise ValueError(f"{path}: label {wrong} is outside 0..{highest}; unpack its archive again")
    return label
