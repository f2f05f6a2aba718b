"""Losses of CLIP-RC: NEL (focal + dice) and recovery."""

from jseg.models.losses.nel import label_counts, nel_loss, pixel_accuracy
from jseg.models.losses.recovery import RECOVERY_LOSSES, recovery_loss

__all__ = ["RECOVERY_LOSSES", "label_counts", "nel_loss", "pixel_accuracy", "recovery_loss"]
