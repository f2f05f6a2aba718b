"""Replacement of rows of a sequence in one copy.

Slicing and concatenating would copy the sequence three times in each direction.
"""

from jseg.runtime.backend import jt

_SIZES = """
    const size_t sample = in0->size / in0_shape0,
                 part = (size_t)data["rows"] * (in0->size / in0_shape0 / in0_shape1),
                 start = (size_t)data["start"] * (in0->size / in0_shape0 / in0_shape1);
    char* to = (char*)out0_p;
"""
_CUDA_HEADER = '#include "helper_cuda.h"'  # Jittor's, for checkCudaErrors
_COPY = _SIZES + "std::memcpy(to, in0_p, in0->size);"
_CUDA_COPY = _SIZES + "checkCudaErrors(cudaMemcpyAsync(to, in0_p, in0->size, cudaMemcpyDeviceToDevice, 0));"
_FORWARD = (
    _COPY
    + """
    for (long b = 0; b < in0_shape0; b++)
        std::memcpy(to + b * sample + start, (const char*)in1_p + b * part, part);
"""
)
_BACKWARD = _COPY + "for (long b = 0; b < in0_shape0; b++) std::memset(to + b * sample + start, 0, part);"
_CUDA_FORWARD = (
    _CUDA_COPY
    + """
    checkCudaErrors(cudaMemcpy2DAsync(to + start, sample, in1_p, part, part, in0_shape0,
                                      cudaMemcpyDeviceToDevice, 0));
"""
)
_CUDA_BACKWARD = (
    _CUDA_COPY + "checkCudaErrors(cudaMemset2DAsync(to + start, sample, 0, part, in0_shape0, 0));"
)


def replace_rows(x: jt.Var, rows: jt.Var, start: int) -> jt.Var:
    """Returns x with its rows start … start + K replaced by `rows`.

    Args:
        x: (B, L, D).
        rows: (B, K, D) of the same type.
        start: index of the first replaced row. All K rows must lie inside x.

    Returns:
        (B, L, D), differentiable in x and rows.

    Raises:
        ValueError: if shapes or types do not match.
    """
    if (
        x.ndim != 3
        or rows.ndim != 3
        or x.shape[0] != rows.shape[0]
        or x.shape[2] != rows.shape[2]
        or x.dtype != rows.dtype
        or start < 0
        or start + rows.shape[1] > x.shape[1]
    ):
        raise ValueError(
            f"replace_rows expects x (B, L, D) and rows (B, K, D) that fit into it from {start} on; got "
            f"{list(x.shape)} {x.dtype} and {list(rows.shape)} {rows.dtype}"
        )
    return _ReplaceRows(rows.shape[1], start)(x, rows) if rows.shape[1] else x


class _ReplaceRows(jt.Function):
    def __init__(self, count: int, start: int) -> None:
        # Scalars are passed in `data`, so that new values do not need a recompilation.
        self.data = {"rows": count, "start": start}

    def execute(self, x: jt.Var, rows: jt.Var) -> jt.Var:
        return jt.code(
            x.shape,
            x.dtype,
            [x, rows],
            cpu_src=_FORWARD,
            cuda_src=_CUDA_FORWARD,
            cuda_header=_CUDA_HEADER,
            data=self.data,
        )

    def grad(self, grad_output: jt.Var) -> tuple[jt.Var, jt.Var]:
        first, count = self.data["start"], self.data["rows"]
        dx = jt.code(
            grad_output.shape,
            grad_output.dtype,
            [grad_output],
            cpu_src=_BACKWARD,
            cuda_src=_CUDA_BACKWARD,
            cuda_header=_CUDA_HEADER,
            data=self.data,
        )
        return dx, grad_output[:, first : first + count]
