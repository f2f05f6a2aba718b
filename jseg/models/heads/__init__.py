"""Heads: region alignment module, decoder, recovery decoder."""

from jseg.models.heads.clip_rc_head import CLIPRCHead, Recovery

__all__ = ["CLIPRCHead", "Recovery"]
