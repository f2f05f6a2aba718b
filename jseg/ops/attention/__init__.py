"""Masked multi-head attention."""

from jseg.ops.attention.attention import attention

__all__ = ["attention"]
