"""Attention as a chain of plain low-precision operators, against which the fused kernels are measured."""

import numpy as np
from emulated import round_to
from op_references import join, split


def to_tf32(x: np.ndarray) -> np.ndarray:
    """Rounds to float32 with 10 bits of fraction, with ties away from zero."""
    return ((np.asarray(x, np.float32).view(np.uint32) + 0x1000) & np.uint32(0xFFFFE000)).view(np.float32)


def plain_attention(
    name: str,
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    d_output: np.ndarray,
    heads: int,
    allowed: np.ndarray | None = None,
    factors: np.ndarray | None = None,
) -> tuple[np.ndarray, ...]:
    """Returns output, dq, dk and dv, with each matrix between two operators rounded to the format `name`.

    Products take operands of that format and add in float32. The softmax is computed in float32.

    Args:
        allowed: (Lq, Lk) bool.
        factors: (B, H, Lq, Lk) dropout factors.
    """
    operand = to_tf32 if name == "Tf32" else (lambda x: round_to(x, name))

    def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return round_to(operand(a) @ operand(b), name)

    def transposed(x: np.ndarray) -> np.ndarray:
        return x.transpose(0, 1, 3, 2)

    q, k, v, d = (split(x, heads).astype(np.float32) for x in (q, k, v, d_output))
    scale = np.float32(q.shape[-1] ** -0.5)
    score = round_to(product(q, transposed(k)) * scale, name)
    if allowed is not None:
        score = np.where(allowed, score, -np.inf)
    p = np.exp(score - score.max(-1, keepdims=True))
    p = round_to(p / p.sum(-1, keepdims=True), name)
    factors = np.ones(1, np.float32) if factors is None else factors.astype(np.float32)
    dropped = round_to(p * factors, name)
    dp = round_to(product(d, transposed(v)) * factors, name)
    ds = round_to(p * (dp - (dp * p).sum(-1, keepdims=True)) * scale, name)
    return tuple(
        join(x)
        for x in (
            product(dropped, v),
            product(ds, k),
            product(transposed(ds), q),
            product(transposed(dropped), d),
        )
    )
