"""One step of AdamW for many tensors, in parallel passes over groups of them."""

from jseg.ops.adamw.adamw import Rates, Step, Tensor, adamw_step

__all__ = ["Rates", "Step", "Tensor", "adamw_step"]
