"""Losses of CLIP-RC: NEL (focal + dice) and recovery."""

from jseg.models.losses.nel import nel_loss, pixel_accuracy
from jseg.models.losses.recovery import RECOVERY_LOSSES, recovery_loss

__all__ = ["RECOVERY_LOSSES", "nel_loss", "pixel_accuracy", "recovery_loss"]
