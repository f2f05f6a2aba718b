"""Front of the fused attention: checks, dispatch, and the `jt.Function` around the C++ kernel."""

from typing import Optional

from jseg.ops.attention.reference import attention_reference
from jseg.ops.dispatch import include_header, use_fused_cpu
from jseg.ops.randomness import first_sample, next_seed
from jseg.runtime.backend import jt

_HEADER = include_header(__file__, "attention_cpu.h")

_SHAPE = """
    jseg_attention::Shape shape{in0_shape0, (int)data["heads"], in0_shape1, in1_shape1,
                                in0_shape2 / (long)data["heads"], in0_shape2};
    const float* mask = data["masked"] > 0 ? in3_p : nullptr;
    jseg_attention::Dropout dropout(data["dropout"], (unsigned)data["seed"],
                                    (uint64_t)data["first_sample"] * shape.heads * shape.queries);
"""
_FORWARD = _SHAPE + "jseg_attention::forward(shape, in0_p, in1_p, in2_p, mask, dropout, out0_p, out1_p);"
_BACKWARD = _SHAPE + """
    jseg_attention::backward(shape, in0_p, in1_p, in2_p, mask, dropout, in4_p, in5_p, in6_p,
                             out0_p, out1_p, out2_p);
"""


def attention(
    q: jt.Var, k: jt.Var, v: jt.Var, num_heads: int, mask: Optional[jt.Var] = None, dropout: float = 0.0
) -> jt.Var:
    """Multi-head attention softmax(q kᵀ / √c + mask) v, differentiable in q, k and v.

    Args:
        q: (B, Lq, H·c) float32, head h in channels h·c … (h+1)·c.
        k, v: (B, Lk, H·c).
        num_heads: H.
        mask: additive, (Lq, Lk), shared by all heads and images; 0 where a query may attend and a
            large negative finite number (−1e30) where not. A row that forbids everything attends evenly.
        dropout: share of probabilities set to zero, the others scaled by 1 / (1 − dropout). The
            pattern follows NumPy's global random state and `jseg.ops.randomness.first_sample`, so a
            reseeded step repeats itself, however its batch is spread over processes.

    Returns:
        (B, Lq, H·c).

    Raises:
        ValueError: shapes or types that do not fit each other, naming them.
    """
    _check(q, k, v, num_heads, mask, dropout)
    if not (use_fused_cpu() and q.dtype == "float32"):
        return attention_reference(q, k, v, num_heads, mask, dropout)
    return _FusedAttention(num_heads, mask, dropout)(q, k, v)


def _check(q, k, v, num_heads, mask, dropout) -> None:
    shapes = f"q {list(q.shape)}, k {list(k.shape)}, v {list(v.shape)}"
    if num_heads < 1:
        raise ValueError(f"attention needs at least one head; got {num_heads}")
    if not (q.ndim == k.ndim == v.ndim == 3) or list(k.shape) != list(v.shape):
        raise ValueError(f"attention expects q (B, Lq, C) and k, v (B, Lk, C); got {shapes}")
    if q.shape[0] != k.shape[0] or q.shape[2] != k.shape[2] or q.shape[2] % num_heads:
        raise ValueError(f"attention over {num_heads} heads expects equal B and C, C divisible by heads; got {shapes}")
    if mask is not None and list(mask.shape) != [q.shape[1], k.shape[1]]:
        raise ValueError(f"attention mask must be (Lq, Lk) = ({q.shape[1]}, {k.shape[1]}); got {list(mask.shape)}")
    types = {str(var.dtype) for var in (q, k, v, mask) if var is not None}
    if len(types) > 1 or not types.issubset(("float32", "float64", "float16", "bfloat16")):
        raise ValueError(f"attention expects q, k, v and mask of one floating type; got {', '.join(sorted(types))}")
    if not 0.0 <= dropout < 1.0:
        raise ValueError(f"attention dropout must be in [0, 1); got {dropout}")


class _FusedAttention(jt.Function):
    """Keeps two numbers of each row instead of its probabilities, and recomputes those backwards."""

    def __init__(self, num_heads: int, mask: Optional[jt.Var], dropout: float) -> None:
        # Scalars travel through `data`, so that other values need no recompilation.
        self.data = {"heads": num_heads, "masked": float(mask is not None), "dropout": dropout,
                     "seed": float(next_seed()) if dropout > 0 else 0.0, "first_sample": float(first_sample())}
        self.mask = mask

    def execute(self, q: jt.Var, k: jt.Var, v: jt.Var) -> jt.Var:
        mask = self.mask if self.mask is not None else jt.zeros((1, 1))
        rows = [q.shape[0], self.data["heads"], q.shape[1], 2]
        output, statistics = jt.code([q.shape, rows], [q.dtype, q.dtype], [q, k, v, mask],
                                      cpu_header=_HEADER, cpu_src=_FORWARD, data=self.data)
        self.saved = (q, k, v, mask, output, statistics)
        return output

    def grad(self, grad_output: jt.Var):
        q, k, v, mask, output, statistics = self.saved
        return jt.code([q.shape, k.shape, v.shape], [q.dtype] * 3, [q, k, v, mask, output, grad_output, statistics],
                       cpu_header=_HEADER, cpu_src=_BACKWARD, data=self.data)
