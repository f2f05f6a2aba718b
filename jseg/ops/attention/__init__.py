"""Multi-head attention of queries over keys: across two streams, or causal within one."""

from jseg.ops.attention.attention import attention

__all__ = ["attention"]
