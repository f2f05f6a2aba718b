"""Decode heads: CLIP-RC's region alignment module, decoder and recovery decoder."""

from jseg.models.heads.base import HEADS, Decoded, Head
from jseg.models.heads.clip_rc_head import CLIPRCHead, Recovery, RecoveryOptions

__all__ = ["HEADS", "CLIPRCHead", "Decoded", "Head", "Recovery", "RecoveryOptions"]
