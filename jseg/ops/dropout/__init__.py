"""Dropout in one pass, with the pattern that the attention kernels share."""

from jseg.ops.dropout.dropout import dropout

__all__ = ["dropout"]
