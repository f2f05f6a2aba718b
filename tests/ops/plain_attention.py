"""Attention as plain matrix operations in NumPy: in float64 the reference, in a lower precision the yardstick."""

from typing import Optional, Tuple

import numpy as np
from emulated import round_to


def split(x: np.ndarray, heads: int) -> np.ndarray:
    """(B, L, H·c) -> (B, H, L, c)."""
    return x.reshape(x.shape[0], x.shape[1], heads, -1).transpose(0, 2, 1, 3)


def join(x: np.ndarray) -> np.ndarray:
    """The inverse of `split`."""
    return x.transpose(0, 2, 1, 3).reshape(x.shape[0], x.shape[2], -1)


def to_tf32(x: np.ndarray) -> np.ndarray:
    """float32 with 10 bits of fraction, ties away from zero."""
    return ((np.asarray(x, np.float32).view(np.uint32) + 0x1000) & np.uint32(0xFFFFE000)).view(np.float32)


def plain_attention(q: np.ndarray, k: np.ndarray, v: np.ndarray, d_output: np.ndarray, heads: int,
                    allowed: Optional[np.ndarray] = None, factors: Optional[np.ndarray] = None,
                    name: Optional[str] = None) -> Tuple[np.ndarray, ...]:
    """Output, dq, dk, dv, each matrix kept in memory in the format `name` as a chain of plain operators keeps it.

    Products take operands of that format and add in float32; the softmax is computed in float32. Without a name
    everything is float64. allowed: (Lq, Lk) bool. factors: (B, H, Lq, Lk) of the dropout.
    """
    kind = np.float64 if name is None else np.float32
    kept = (lambda x: x) if name is None else (lambda x: round_to(x, name))
    operand = to_tf32 if name == "Tf32" else kept

    def product(formula: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return kept(np.einsum(formula, operand(a), operand(b), dtype=kind, optimize=True))

    q, k, v, d = (split(x.astype(kind), heads) for x in (q, k, v, d_output))
    scale = kind(q.shape[-1] ** -0.5)
    score = kept(product("bhic,bhjc->bhij", q, k) * scale)
    if allowed is not None:
        score = np.where(allowed, score, -np.inf)
    p = np.exp(score - score.max(-1, keepdims=True))
    p = kept(p / p.sum(-1, keepdims=True))
    factor = kind(1) if factors is None else factors.astype(kind)
    dropped = kept(p * factor)
    dp = kept(product("bhic,bhjc->bhij", d, v) * factor)
    ds = kept(p * (dp - (dp * p).sum(-1, keepdims=True)) * scale)
    return tuple(join(x) for x in (product("bhij,bhjc->bhic", dropped, v), product("bhij,bhjc->bhic", ds, k),
                                   product("bhij,bhic->bhjc", ds, q), product("bhij,bhic->bhjc", dropped, d)))


def dropout_factors(batch: int, heads: int, queries: int, keys: int, rate: float, seed: int) -> np.ndarray:
    """(B, H, Lq, Lk): 0 or 1 / (1 - rate), by the hash that the kernels share."""
    def mix(x: np.ndarray) -> np.ndarray:
        x = x ^ x >> np.uint32(16)
        x = x * np.uint32(0x85EBCA6B)
        x = x ^ x >> np.uint32(13)
        x = x * np.uint32(0xC2B2AE35)
        return x ^ x >> np.uint32(16)

    row = np.arange(batch * heads * queries, dtype=np.uint32)
    key = mix(row ^ mix(np.full(1, seed, np.uint32)))
    column = np.arange(keys, dtype=np.uint32) * np.uint32(0x9E3779B1)
    kept = mix(key[:, None] + column[None]) >= np.uint32(rate * 4294967296.0)
    return np.where(kept, 1 / (1 - rate), 0.0).reshape(batch, heads, queries, keys)
