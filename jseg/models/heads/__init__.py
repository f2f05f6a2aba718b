"""Decode heads: CLIP-RC's region alignment module with its two decoders, and ZegCLIP's."""

from jseg.models.heads.base import HEADS, Decoded, Head
from jseg.models.heads.clip_rc_head import CLIPRCHead, Recovery, RecoveryOptions
from jseg.models.heads.zegclip_head import ZegCLIPHead

__all__ = ["HEADS", "CLIPRCHead", "Decoded", "Head", "Recovery", "RecoveryOptions", "ZegCLIPHead"]
