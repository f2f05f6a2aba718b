"""From the output of a model to class probabilities of a whole image, with NumPy alone."""

from jseg.inference.windows import (
    predict_augmented,
    predict_slide,
    predict_whole,
    resize_bilinear,
    window_positions,
)

__all__ = [
    "predict_augmented",
    "predict_slide",
    "predict_whole",
    "resize_bilinear",
    "window_positions",
]
