"""Argument checks that the figures share, each of which names the values at fault."""

from collections.abc import Iterable, Sequence

import numpy as np

from jseg.labels import IGNORE_INDEX


def check_image(image: np.ndarray, what: str) -> np.ndarray:
    """Returns `image` as an array after checking that it is a non-empty uint8 (H, W, 3) RGB image."""
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ValueError(f"{what} has shape {image.shape}; give an RGB image of shape (H, W, 3)")
    if image.dtype != np.uint8:
        raise ValueError(f"{what} has type {image.dtype}; give the original image as uint8 in 0..255")
    return image


def check_label(
    label: np.ndarray, image: np.ndarray, num_classes: int, what: str, ignore_index: int = IGNORE_INDEX
) -> np.ndarray:
    """Returns `label` as an array after checking its type, its size against `image` and its values."""
    label = np.asarray(label)
    if label.shape != image.shape[:2]:
        raise ValueError(
            f"{what} has shape {label.shape} but its image has shape {image.shape[:2]}; "
            "give both in the same size"
        )
    if not np.issubdtype(label.dtype, np.integer):
        raise ValueError(f"{what} has type {label.dtype}; give integer class indices")
    wrong = label[(label != ignore_index) & ((label < 0) | (label >= num_classes))]
    if wrong.size:
        raise ValueError(
            f"{what} contains label {int(wrong[0])}, but there are {num_classes} classes "
            f"(0..{num_classes - 1}; {ignore_index} is ignored)"
        )
    return label


def check_palette(palette: np.ndarray, num_classes: int = 0) -> np.ndarray:
    """Returns `palette` as uint8 (C, 3) after checking that it has at least `num_classes` colours."""
    palette = np.asarray(palette)
    if palette.ndim != 2 or palette.shape[1] != 3:
        raise ValueError(f"palette has shape {palette.shape}; give one RGB colour per class, shape (C, 3)")
    if len(palette) < num_classes:
        raise ValueError(
            f"palette has {len(palette)} colours for {num_classes} classes; give one colour per class"
        )
    if palette.size and (palette.min() < 0 or palette.max() > 255):
        raise ValueError(
            f"palette has values from {palette.min()} to {palette.max()}; give colours in 0..255"
        )
    return palette.astype(np.uint8)


def check_unseen(unseen: Iterable[int], class_names: Sequence[str]) -> frozenset[int]:
    """Returns the indices of the unseen classes as a set after checking that each belongs to a class."""
    indices = frozenset(int(index) for index in unseen)
    for index in sorted(indices):
        if not 0 <= index < len(class_names):
            raise ValueError(f"unseen class index {index} is outside the {len(class_names)} class names")
    return indices
