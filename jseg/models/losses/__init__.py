"""Losses of CLIP-RC: NEL (focal + dice) and recovery."""

from jseg.models.losses.accuracy import labelled_pixels, pixel_accuracy
from jseg.models.losses.base import LOSSES, Loss
from jseg.models.losses.nel import NELLoss
from jseg.models.losses.recovery import RECOVERY_LOSSES, recovery_loss

__all__ = [
    "LOSSES",
    "RECOVERY_LOSSES",
    "Loss",
    "NELLoss",
    "labelled_pixels",
    "pixel_accuracy",
    "recovery_loss",
]
