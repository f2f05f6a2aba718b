"""Rows put into a sequence, or taken out of it, in one copy.

Slicing and concatenating would copy the sequence three times in each direction.
"""

from jseg.runtime.backend import jt

# `part` bytes of each sample, from `start` on, are what the longer sequence has and the shorter one lacks.
_SIZES = """
    const size_t row = out0->size / out0_shape0 / out0_shape1, part = (size_t)data["rows"] * row,
                 start = (size_t)data["start"] * row, whole = out0->size / out0_shape0;
    char* to = (char*)out0_p;
    const char* from = (const char*)in0_p;
"""
_INSERT = (
    _SIZES
    + """
    for (long b = 0; b < out0_shape0; b++, to += whole, from += whole - part) {
        std::memcpy(to, from, start);
        FILL
        std::memcpy(to + start + part, from + start, whole - part - start);
    }
"""
)
_ROWS = "std::memcpy(to + start, (const char*)in1_p + b * part, part);"
_ZEROS = "std::memset(to + start, 0, part);"
_DROP = (
    _SIZES
    + """
    for (long b = 0; b < out0_shape0; b++, to += whole, from += whole + part) {
        std::memcpy(to, from, start);
        std::memcpy(to + start, from + start + part, whole - start);
    }
"""
)
_CUDA_HEADER = '#include "helper_cuda.h"'  # Jittor's, for checkCudaErrors
# Columns of `width` bytes of all samples.
_CUDA_SIZES = (
    _SIZES
    + """
    auto copy = [&](char* to, size_t to_pitch, const char* from, size_t from_pitch, size_t width) {
        if (width)
            checkCudaErrors(cudaMemcpy2DAsync(to, to_pitch, from, from_pitch, width, out0_shape0,
                                              cudaMemcpyDeviceToDevice, 0));
    };
"""
)
_CUDA_INSERT = (
    _CUDA_SIZES
    + """
    copy(to, whole, from, whole - part, start);
    FILL
    copy(to + start + part, whole, from + start, whole - part, whole - part - start);
"""
)
_CUDA_ROWS = "copy(to + start, whole, (const char*)in1_p, part, part);"
_CUDA_ZEROS = "checkCudaErrors(cudaMemset2DAsync(to + start, whole, 0, part, out0_shape0, 0));"
_CUDA_DROP = (
    _CUDA_SIZES
    + """
    copy(to, whole, from, whole + part, start);
    copy(to + start, whole, from + start + part, whole + part, whole - start);
"""
)


def insert_rows(x: jt.Var, rows: jt.Var, start: int) -> jt.Var:
    """Returns x with `rows` in front of its row `start`.

    Args:
        x: (B, L, D).
        rows: (B, K, D) of the same type.
        start: 0 … L.

    Returns:
        (B, L + K, D), differentiable in x and rows.

    Raises:
        ValueError: if shapes or types do not match.
    """
    if (
        x.ndim != 3
        or rows.ndim != 3
        or x.shape[0] != rows.shape[0]
        or x.shape[2] != rows.shape[2]
        or x.dtype != rows.dtype
        or not 0 <= start <= x.shape[1]
    ):
        raise ValueError(
            f"insert_rows expects x (B, L, D), rows (B, K, D) and a place from 0 to L; got {list(x.shape)} "
            f"{x.dtype}, {list(rows.shape)} {rows.dtype} and {start}"
        )
    if not rows.shape[1]:
        return x
    if not x.shape[0] or not x.shape[1]:
        return jt.concat([x, rows], 1)
    return _InsertRows(rows.shape[1], start)(x, rows)


def drop_rows(x: jt.Var, start: int, count: int) -> jt.Var:
    """Returns x without its rows start … start + count.

    Args:
        x: (B, L, D). start, count: the rows must lie inside x, and some must be left.

    Returns:
        (B, L − count, D), differentiable in x.

    Raises:
        ValueError: if the rows do not lie inside x.
    """
    if x.ndim != 3 or start < 0 or count < 0 or start + count > x.shape[1] or count == x.shape[1]:
        raise ValueError(
            f"drop_rows expects x (B, L, D) with more than the {count} rows from {start} on; got "
            f"{list(x.shape)}"
        )
    if not count:
        return x
    return _DropRows(count, start)(x) if x.shape[0] else x[:, count:]


class _Rows(jt.Function):
    def __init__(self, count: int, start: int) -> None:
        # Scalars are passed in `data`, so that new values do not need a recompilation.
        self.data = {"rows": count, "start": start}

    def _insert(self, x: jt.Var, *rows: jt.Var) -> jt.Var:
        """Zeros are inserted where no rows are given."""
        cpu, cuda = (_ROWS, _CUDA_ROWS) if rows else (_ZEROS, _CUDA_ZEROS)
        return self._call(
            self.data["rows"], [x, *rows], _INSERT.replace("FILL", cpu), _CUDA_INSERT.replace("FILL", cuda)
        )

    def _drop(self, x: jt.Var) -> jt.Var:
        return self._call(-self.data["rows"], [x], _DROP, _CUDA_DROP)

    def _call(self, more: int, inputs: list[jt.Var], cpu: str, cuda: str) -> jt.Var:
        batch, length, width = inputs[0].shape
        return jt.code(
            [batch, length + more, width],
            inputs[0].dtype,
            inputs,
            cpu_src=cpu,
            cuda_src=cuda,
            cuda_header=_CUDA_HEADER,
            data=self.data,
        )


class _InsertRows(_Rows):
    def execute(self, x: jt.Var, rows: jt.Var) -> jt.Var:
        return self._insert(x, rows)

    def grad(self, grad_output: jt.Var) -> tuple[jt.Var, jt.Var]:
        first = self.data["start"]
        return self._drop(grad_output), grad_output[:, first : first + self.data["rows"]]


class _DropRows(_Rows):
    def execute(self, x: jt.Var) -> jt.Var:
        return self._drop(x)

    def grad(self, grad_output: jt.Var) -> jt.Var:
        return self._insert(grad_output)
