"""Front of multi-head attention: input checks, dispatch, and the `jt.Function` around the kernel."""

from jseg.ops.attention.reference import attention_reference
from jseg.ops.checks import require_heads, require_one_floating_type
from jseg.ops.cuda import ATTENTION_KERNELS, cuda_code, use_cuda_kernels
from jseg.ops.dispatch import include_headers, use_fused
from jseg.ops.randomness import first_sample, next_seed
from jseg.runtime.backend import jt

_HEADERS = ("simd.h", "dropout/dropout_cpu.h", "attention/attention_cpu.h")

_PROBLEM = """
    long width = in0_shape2, query_batch = in0_shape1 * width, key_batch = in1_shape1 * width;
    jseg_attention::Problem problem{in0_shape0, (int)data["heads"], width / (long)data["heads"],
                                    in0_shape1, in1_shape1, data["causal"] > 0, in0_shape1, 0, in0_shape1};
    jseg_attention::Dropout dropout(data["dropout"], (unsigned)data["seed"],
                                    (uint64_t)data["first_sample"] * problem.heads * problem.queries);
    jseg_attention::Input q{in0_p, width, query_batch}, k{in1_p, width, key_batch},
                          v{in2_p, width, key_batch};
"""
_FORWARD = (
    _PROBLEM
    + """
    jseg_attention::forward(problem, dropout, q, k, v, jseg_attention::Output{out0_p, width, query_batch},
                            out1_p);
"""
)
_BACKWARD = (
    _PROBLEM
    + """
    jseg_attention::backward(problem, dropout, q, k, v, {in3_p, width, query_batch},
                             {in4_p, width, query_batch}, in5_p, {out0_p, width, query_batch},
                             {out1_p, width, key_batch}, {out2_p, width, key_batch});
"""
)

_CUDA_HEADERS = (*ATTENTION_KERNELS, "attention/attention_cuda.cuh")
_CUDA_PROBLEM = """
    auto problem = jseg_attention_cuda::problem<in0_type>(
        in0_p, in1_p, in2_p, LOG_SUM, in0_shape0, (int)data["heads"], in0_shape1, in1_shape1, in0_shape2,
        data["causal"] > 0, data["dropout"], (unsigned)data["seed"], (long)data["first_sample"]);
"""
_CUDA_FORWARD = (
    _CUDA_PROBLEM.replace("LOG_SUM", "out1_p")
    + """
    jseg_attention_cuda::forward<Format, kHeadWidth>(problem, out0_p);
"""
)
_CUDA_BACKWARD = (
    _CUDA_PROBLEM.replace("LOG_SUM", "in5_p")
    + """
    jseg_attention_cuda::backward<Format, kHeadWidth>(problem, in3_p, in4_p, out0_p, out1_p, out2_p, out3_p);
"""
)


def attention(
    q: jt.Var, k: jt.Var, v: jt.Var, num_heads: int, causal: bool = False, dropout: float = 0.0
) -> jt.Var:
    """Computes multi-head attention softmax(q kᵀ / √c) v in memory that is linear in the inputs.

    Differentiable in q, k and v.

    Args:
        q: (B, Lq, H·c) float32 (on CUDA also float16 or bfloat16), head h in channels h·c … (h+1)·c.
        k, v: (B, Lk, H·c), Lk at least 1.
        num_heads: H.
        causal: whether query i sees only the keys 0 … i, which requires Lq = Lk.
        dropout: share of probabilities set to zero. The others are scaled by 1 / (1 − dropout). The
            pattern follows NumPy's global random state and `jseg.ops.randomness.first_sample`, so a step
            with the same seed repeats itself, however its batch is spread over processes.

    Returns:
        (B, Lq, H·c). Empty if B or Lq is 0.

    Raises:
        ValueError: if shapes or types do not match; the message names them.
        TypeError: if q, k or v is not a Jittor tensor.
    """
    _check(q, k, v, num_heads, causal, dropout)
    if 0 in q.shape:
        return q
    if not (use_fused(q, k, v) or use_cuda_kernels(q, k, v, head_width=q.shape[2] // num_heads)):
        return attention_reference(q, k, v, num_heads, causal, dropout)
    return _FusedAttention(num_heads, causal, dropout)(q, k, v)


def _check(q: jt.Var, k: jt.Var, v: jt.Var, num_heads: int, causal: bool, dropout: float) -> None:
    require_one_floating_type("attention", q, k, v)
    require_heads("attention", num_heads)
    if not 0.0 <= dropout < 1.0:
        raise ValueError(f"attention dropout must be in [0, 1); got {dropout}")
    of_q, of_k = q.shape, k.shape
    if not (len(of_q) == len(of_k) == 3) or of_k != v.shape:
        expected = "attention expects q (B, Lq, C) and k, v (B, Lk, C)"
    elif of_q[0] != of_k[0] or of_q[2] != of_k[2] or of_q[2] % num_heads:
        expected = f"attention over {num_heads} heads expects equal B and C, and C divisible by the heads"
    elif of_k[1] < 1 or of_k[2] < 1:
        expected = "attention expects at least one key and one channel"
    elif causal and of_q[1] != of_k[1]:
        expected = "causal attention expects as many queries as keys"
    else:
        return
    raise ValueError(f"{expected}; got q {list(of_q)}, k {list(of_k)}, v {list(v.shape)}")


class _FusedAttention(jt.Function):
    """Keeps one value per row instead of its probabilities, and recomputes them in the backward pass."""

    def __init__(self, num_heads: int, causal: bool, dropout: float) -> None:
        # Scalars are passed in `data`, so that new values do not need a recompilation.
        self.data = {
            "heads": num_heads,
            "causal": float(causal),
            "dropout": dropout,
            "seed": float(next_seed()) if dropout > 0 else 0.0,
            "first_sample": float(first_sample()),
        }

    def execute(self, q: jt.Var, k: jt.Var, v: jt.Var) -> jt.Var:
        rows = [q.shape[0], self.data["heads"], q.shape[1]]
        output, log_sum = jt.code(
            [q.shape, rows],
            [q.dtype, "float32"],
            [q, k, v],
            cpu_header=include_headers(*_HEADERS),
            cpu_src=_FORWARD,
            data=self.data,
            **self._cuda(_CUDA_FORWARD, q),
        )
        self.saved = (q, k, v, output, log_sum)
        return output

    def grad(self, grad_output: jt.Var) -> tuple[jt.Var, ...]:
        q, k, v, output, log_sum = self.saved
        shapes, dtypes = [q.shape, k.shape, v.shape], [q.dtype] * 3
        cuda = self._cuda(_CUDA_BACKWARD, q)
        if cuda:  # the backward kernels pass one value per row to each other
            shapes, dtypes = [*shapes, log_sum.shape], [*dtypes, "float32"]
        gradients = jt.code(
            shapes,
            dtypes,
            [q, k, v, output, grad_output, log_sum],
            cpu_header=include_headers(*_HEADERS),
            cpu_src=_BACKWARD,
            data=self.data,
            **cuda,
        )
        return tuple(gradients[:3])

    def _cuda(self, source: str, q: jt.Var) -> dict[str, str]:
        return cuda_code(_CUDA_HEADERS, source, q.dtype, q.shape[2] // self.data["heads"])
