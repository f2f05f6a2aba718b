"""Multi-head attention of queries over keys, either across two streams or causal within one."""

from jseg.ops.attention.attention import attention

__all__ = ["attention"]
