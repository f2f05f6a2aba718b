"""The confusion matrix and the zero-shot metrics, which need only NumPy."""

from jseg.evaluation.confusion import ConfusionMatrix
from jseg.evaluation.metrics import HEADLINE, format_table, json_ready, summarise

__all__ = [
    "HEADLINE",
    "ConfusionMatrix",
    "format_table",
    "json_ready",
    "summarise",
]
