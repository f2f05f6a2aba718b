"""Layer normalisation over the last axis.

Jittor's own version computes the variance as E[x²] − E[x]², which loses digits when the mean is large. It is
also several times slower on the CPU.
"""

from jseg.ops.checks import require_one_floating_type
from jseg.ops.cuda import cuda_code, use_cuda_kernels
from jseg.ops.dispatch import include_headers, use_fused
from jseg.ops.layer_norm.reference import layer_norm_reference
from jseg.runtime.backend import jt

_HEADERS = ("layer_norm/layer_norm_cpu.h",)
_CUDA_HEADERS = ("layer_norm/layer_norm_cuda.cuh",)


def layer_norm(x: jt.Var, weight: jt.Var, bias: jt.Var, eps: float = 1e-5) -> jt.Var:
    """Computes (x − mean) / √(variance + eps) · weight + bias over the last axis.

    Args:
        x: (..., D) float32 (on CUDA also float16 or bfloat16).
        weight, bias: (D,), of the same type as x.
        eps: value above 0 that is added to the biased variance.

    Returns:
        Same shape as x. Differentiable in x, weight and bias.

    Raises:
        ValueError: if weight or bias differs from x in width or type, or eps is not above 0.
        TypeError: if x, weight or bias is not a Jittor tensor.
    """
    require_one_floating_type("layer_norm", x, weight, bias)
    if x.ndim < 1 or weight.ndim != 1 or bias.shape != weight.shape or weight.shape[0] != x.shape[-1]:
        raise ValueError(
            f"layer_norm expects x (..., D) and weight and bias (D,); got x {list(x.shape)}, "
            f"weight {list(weight.shape)}, bias {list(bias.shape)}"
        )
    if not eps > 0:
        raise ValueError(f"layer_norm expects eps above 0; got {eps}")
    if not (use_fused(x, weight, bias) or use_cuda_kernels(x, weight, bias)):
        return layer_norm_reference(x, weight, bias, eps)
    return _FusedLayerNorm(eps)(x.reshape(-1, x.shape[-1]), weight, bias).reshape(x.shape)


# The same calls for both devices; the namespace tells them apart.
_FORWARD = 'forward(in0_shape0, in0_shape1, in0_p, in1_p, in2_p, (float)data["eps"], out0_p, out1_p);'
_BACKWARD_INPUT = "backward_input(in0_shape0, in0_shape1, in0_p, in1_p, in2_p, in3_p, out0_p);"
_BACKWARD_WEIGHT = "backward_weight(in0_shape0, in0_shape1, in0_p, in1_p, in2_p, out0_p, out1_p);"


class _FusedLayerNorm(jt.Function):
    def __init__(self, eps: float) -> None:
        self.data = {"eps": eps}

    def execute(self, x: jt.Var, weight: jt.Var, bias: jt.Var) -> jt.Var:
        y, statistics = self._run(
            _FORWARD, [x.shape, [x.shape[0], 2]], [x.dtype, "float32"], [x, weight, bias]
        )
        self.saved = (x, weight, statistics)
        return y

    def grad(self, grad_output: jt.Var) -> tuple[jt.Var, jt.Var, jt.Var]:
        x, weight, statistics = self.saved
        (dx,) = self._run(_BACKWARD_INPUT, [x.shape], [x.dtype], [x, weight, statistics, grad_output])
        # A separate operator, because Jittor computes only what is needed and frozen weights never need this.
        dweight, dbias = self._run(
            _BACKWARD_WEIGHT, [weight.shape] * 2, [x.dtype] * 2, [x, statistics, grad_output]
        )
        return dx, dweight, dbias

    def _run(self, call: str, shapes: list, dtypes: list, inputs: list) -> list[jt.Var]:
        cuda = cuda_code(_CUDA_HEADERS, "jseg_layer_norm_cuda::" + call, inputs[0].dtype)
        return jt.code(
            shapes,
            dtypes,
            inputs,
            cpu_header=include_headers(*_HEADERS),
            cpu_src="jseg_layer_norm::" + call,
            data=self.data,
            **cuda,
        )
