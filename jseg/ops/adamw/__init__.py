"""One step of AdamW for one tensor, in one parallel pass."""

from jseg.ops.adamw.adamw import Step, adamw_step

__all__ = ["Step", "adamw_step"]
