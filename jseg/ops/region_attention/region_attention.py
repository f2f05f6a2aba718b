"""Front of region attention: input checks, dispatch, and the `jt.Function` around the kernel."""

from jseg.ops.checks import require_heads, require_one_floating_type
from jseg.ops.cuda import ATTENTION_KERNELS, cuda_code, use_cuda_kernels
from jseg.ops.dispatch import include_headers, use_fused
from jseg.ops.region_attention.layout import RegionLayout
from jseg.ops.region_attention.reference import region_attention_reference
from jseg.runtime.backend import jt

HEADERS = (
    "simd.h",
    "dropout/dropout_cpu.h",
    "attention/attention_cpu.h",
    "region_attention/region_attention_cpu.h",
)

PROBLEM = """
    long width = in0_shape2 / 3, packed = in0_shape2, rows = in0_shape1;
    jseg_attention::Regions regions{(long)data["grid_h"], (long)data["grid_w"], (long)data["regions_h"],
                                    (long)data["regions_w"], (long)data["prefix"], (long)data["skipped"]};
    jseg_attention::Problem problem =
        regions.problem(in0_shape0, (int)data["heads"], width / (long)data["heads"]);
"""
"""Source of the kernel's calls: sizes, from qkv (B, rows, packed) and the numbers of the layout."""

_QKV = (
    PROBLEM
    + """
    jseg_attention::Input q{in0_p, packed, rows * packed}, k = q.shifted(width), v = q.shifted(2 * width);
"""
)
_FORWARD = (
    _QKV
    + """
    jseg_attention::Output o{out0_p, width, rows * width};
    jseg_attention::region_forward(problem, regions, q, k, v, o, out1_p);
    jseg_attention::clear_skipped(problem, o, out1_p);
"""
)
_BACKWARD = (
    _QKV
    + """
    jseg_attention::Input o{in1_p, width, rows * width}, grad{in2_p, width, rows * width};
    jseg_attention::Output dq{out0_p, packed, rows * packed};
    auto dk = dq.shifted(width), dv = dq.shifted(2 * width);
    if ((bool)data["frozen"])
        jseg_attention::skipped_backward(problem, q, k, v, o, grad, in3_p, dq, dk, dv);
    else
        jseg_attention::region_backward(problem, regions, q, k, v, o, grad, in3_p, dq, dk, dv);
"""
)

_CUDA_HEADERS = (
    *ATTENTION_KERNELS,
    "region_attention/region_rows_cuda.cuh",
    "region_attention/region_attention_cuda.cuh",
)
_CUDA_PROBLEM = """
    jseg_attention_cuda::Regions regions{(int)data["grid_h"], (int)data["grid_w"], (int)data["regions_h"],
                                         (int)data["regions_w"], (int)data["prefix"], (int)data["skipped"]};
    auto problem = jseg_region_attention_cuda::problem<in0_type>(
        in0_p, LOG_SUM, in0_shape0, (int)data["heads"],
                                                                 in0_shape2 / 3, regions);
"""
_CUDA_FORWARD = (
    _CUDA_PROBLEM.replace("LOG_SUM", "out1_p")
    + """
    jseg_region_attention_cuda::forward<Format, kHeadWidth>(problem, out0_p);
"""
)
_CUDA_BACKWARD = (
    _CUDA_PROBLEM.replace("LOG_SUM", "in3_p")
    + """
    jseg_region_attention_cuda::backward<Format, kHeadWidth>(problem, in1_p, in2_p, out0_p, out1_p);
"""
)


def region_attention(qkv: jt.Var, num_heads: int, layout: RegionLayout, frozen: bool = False) -> jt.Var:
    """Computes self-attention softmax(q kᵀ / √c) v, where each row runs over the keys that `layout` allows.

    For any number of regions, the time is that of (prefix + N)² pairs, N being the number of patches, and the
    memory is that of the inputs. A patch sees one more key, and a region token only visits the patches of its
    window.

    Args:
        qkv: (B, E, 3·H·c) float32 (on CUDA also float16 or bfloat16), E = `layout.tokens`, c at least 1. It
            holds query, key and value side by side, as one projection returns them. Head h is in channels
            h·c … (h+1)·c of each.
        num_heads: H.
        layout: order of the tokens. `layout.allowed()` is the mask that is applied.
        frozen: only the gradients of keys and values of skipped tokens are needed. Those of the others are
            undefined then, since computing them would take most of the time.

    Returns:
        (B, E, H·c), where rows of skipped tokens are 0. Differentiable, except that the query of a skipped
        row gets no gradient. Empty if B is 0.

    Raises:
        ValueError: if the shape or type does not match; the message names it.
        TypeError: if qkv is not a Jittor tensor.
    """
    require_one_floating_type("region attention", qkv)
    require_heads("region attention", num_heads)
    shape = qkv.shape
    if len(shape) != 3 or shape[1] != layout.tokens or shape[2] % (3 * num_heads) or shape[2] < 1:
        raise ValueError(
            f"region attention over {num_heads} heads expects qkv (B, {layout.tokens}, 3·heads·c), "
            f"c at least 1; got {list(shape)}"
        )
    if frozen and not layout.skipped:
        raise ValueError("region attention: frozen=True leaves no gradient, since the layout skips no token")
    if shape[0] == 0:
        return qkv[:, :, : shape[2] // 3]
    if not (use_fused(qkv) or use_cuda_kernels(qkv, head_width=qkv.shape[2] // (3 * num_heads))):
        return region_attention_reference(qkv, num_heads, layout)
    return _FusedRegionAttention(num_heads, layout, frozen)(qkv)


class _FusedRegionAttention(jt.Function):
    """Keeps one value per row instead of its probabilities, and recomputes them in the backward pass."""

    def __init__(self, num_heads: int, layout: RegionLayout, frozen: bool) -> None:
        # Scalars are passed in `data`, so that new sizes do not need a recompilation.
        self.data = {**layout.numbers(), "heads": num_heads, "frozen": int(frozen)}

    def execute(self, qkv: jt.Var) -> jt.Var:
        batch, tokens, packed = qkv.shape
        output, log_sum = jt.code(
            [[batch, tokens, packed // 3], [batch, self.data["heads"], tokens]],
            [qkv.dtype, "float32"],
            [qkv],
            cpu_header=include_headers(*HEADERS),
            cpu_src=_FORWARD,
            data=self.data,
            **self._cuda(_CUDA_FORWARD, qkv),
        )
        self.saved = (qkv, output, log_sum)
        return output

    def grad(self, grad_output: jt.Var) -> jt.Var:
        qkv, output, log_sum = self.saved
        shapes, dtypes, cuda = [qkv.shape], [qkv.dtype], self._cuda(_CUDA_BACKWARD, qkv)
        if cuda:  # the backward kernels pass one value per row to each other
            shapes, dtypes = [*shapes, log_sum.shape], [*dtypes, "float32"]
        return jt.code(
            shapes,
            dtypes,
            [qkv, output, grad_output, log_sum],
            cpu_header=include_headers(*HEADERS),
            cpu_src=_BACKWARD,
            data=self.data,
            **cuda,
        )[0]

    def _cuda(self, source: str, qkv: jt.Var) -> dict[str, str]:
        return cuda_code(_CUDA_HEADERS, source, qkv.dtype, qkv.shape[2] // (3 * self.data["heads"]))
