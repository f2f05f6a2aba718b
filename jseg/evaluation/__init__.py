"""Evaluation: confusion matrix, zero-shot metrics, whole-image and sliding-window inference. numpy only."""

from jseg.evaluation.confusion import ConfusionMatrix
from jseg.evaluation.inference import (
    predict_augmented,
    predict_slide,
    predict_whole,
    resize_bilinear,
    window_positions,
)
from jseg.evaluation.metrics import HEADLINE, format_table, json_ready, summarise

__all__ = [
    "HEADLINE",
    "ConfusionMatrix",
    "format_table",
    "json_ready",
    "predict_augmented",
    "predict_slide",
    "predict_whole",
    "resize_bilinear",
    "summarise",
    "window_positions",
]
