"""Front of dropout: input checks, dispatch, and the `jt.Function` around the kernel."""

from jseg.ops.checks import require_one_floating_type
from jseg.ops.cuda import cuda_code, use_cuda_kernels
from jseg.ops.dispatch import include_headers, use_fused
from jseg.ops.dropout.reference import dropout_reference
from jseg.ops.randomness import first_sample, next_seed
from jseg.runtime.backend import jt

_HEADERS = ("simd.h", "dropout/dropout_cpu.h")
_SOURCE = """
    jseg_dropout::Dropout dropout(data["rate"], (unsigned)data["seed"], (uint64_t)data["first_row"]);
    jseg_dropout::apply(dropout, in0->num / (long)data["width"], (long)data["width"], in0_p, out0_p);
"""
_CUDA_HEADERS = ("dropout/dropout_cuda.cuh",)
_CUDA_SOURCE = """
    auto dropout = jseg_dropout_cuda::Dropout::make(data["rate"], (unsigned)data["seed"],
                                                    (long)data["first_row"]);
    jseg_dropout_cuda::apply(dropout, in0->num / (long)data["width"], (long)data["width"], in0_p, out0_p);
"""


def dropout(x: jt.Var, rate: float) -> jt.Var:
    """Zeroes elements with probability `rate` and scales the others by 1 / (1 − rate).

    Args:
        x: (B, ..., n) float32 (on CUDA also float16 or bfloat16).
        rate: probability in [0, 1); 0 returns x itself. The pattern follows NumPy's global random state and
            `jseg.ops.randomness.first_sample`, so a step with the same seed repeats itself, however its batch
            is spread over processes.

    Returns:
        Same shape as x. Differentiable, without keeping the pattern or x.

    Raises:
        ValueError: if the rate is outside [0, 1), x has fewer than two axes, or its type is not
            floating-point.
        TypeError: if x is not a Jittor tensor.
    """
    check_dropout(x, rate)
    if rate == 0 or 0 in x.shape:
        return x
    if not (use_fused(x) or use_cuda_kernels(x)):
        return dropout_reference(x, rate)
    return _FusedDropout(x.shape, rate)(x)


def check_dropout(x: jt.Var, rate: float) -> None:
    """Raises the errors of `dropout`."""
    require_one_floating_type("dropout", x)
    if not 0.0 <= rate < 1.0 or x.ndim < 2:
        raise ValueError(
            f"dropout expects a rate in [0, 1) and x (B, ..., n); got {rate} and {list(x.shape)}"
        )


def dropout_pattern(shape: jt.NanoVector, rate: float) -> dict[str, float]:
    """Draws a seed and returns what the kernels need to know of the pattern for x of a shape (B, ..., n).

    Scalars are passed in `data`, so that new values do not need a recompilation.
    """
    rows_of_sample = 1
    for size in shape[1:-1]:
        rows_of_sample *= size
    return {
        "rate": rate,
        "width": shape[-1],
        "seed": float(next_seed()),
        "first_row": float(first_sample() * rows_of_sample),
    }


class _FusedDropout(jt.Function):
    """Applies the same pattern to the gradient in the backward pass, by computing it again."""

    def __init__(self, shape: jt.NanoVector, rate: float) -> None:
        self.data = dropout_pattern(shape, rate)

    def execute(self, x: jt.Var) -> jt.Var:
        return jt.code(
            x.shape,
            x.dtype,
            [x],
            cpu_header=include_headers(*_HEADERS),
            cpu_src=_SOURCE,
            data=self.data,
            **cuda_code(_CUDA_HEADERS, _CUDA_SOURCE, x.dtype),
        )

    def grad(self, grad_output: jt.Var) -> jt.Var:
        return self.execute(grad_output)
