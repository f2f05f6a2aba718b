"""Front of the mean difference: input checks, dispatch, and the `jt.Function` around the kernel."""

from jseg.ops.checks import require_one_floating_type
from jseg.ops.dispatch import include_headers, use_fused
from jseg.ops.mean_difference.reference import mean_difference_reference
from jseg.runtime.backend import jt

_HEADERS = ("simd.h", "mean_difference/mean_difference_cpu.h")


def mean_difference(x: jt.Var, target: jt.Var, power: int) -> jt.Var:
    """Mean of |x − target| or (x − target)² over all elements, with a relative error below 1e-6.

    Args:
        x: float32, any shape that is not empty. target: of the same shape; gets no gradient.
        power: 1 or 2.

    Returns:
        () float32, differentiable in x.

    Raises:
        ValueError: if shapes or types differ, or the power is another.
        TypeError: if x or target is not a Jittor tensor.
    """
    require_one_floating_type("mean_difference", x, target)
    if tuple(x.shape) != tuple(target.shape) or 0 in x.shape or power not in (1, 2):
        raise ValueError(
            "mean_difference expects two tensors of one shape that is not empty, and power 1 or 2; got "
            f"{list(x.shape)}, {list(target.shape)} and {power}"
        )
    if not use_fused(x, target):
        return mean_difference_reference(x, target, power)
    mean = _FusedMean(power)(x.reshape(-1), target.detach().reshape(-1))
    return mean.sum()  # of one element: a scalar


class _FusedMean(jt.Function):
    def __init__(self, power: int) -> None:
        self.kind = f"<{power}>"

    def execute(self, x: jt.Var, target: jt.Var) -> jt.Var:
        self.saved = (x, target)
        return self._code([1], [x, target], "forward", "in0_shape0, in0_p, in1_p, out0_p")

    def grad(self, grad_output: jt.Var) -> tuple[jt.Var, None]:
        x, target = self.saved
        inputs = [x, target, grad_output]
        return self._code(x.shape, inputs, "backward", "in0_shape0, in0_p, in1_p, in2_p, out0_p"), None

    def _code(self, shape: list[int], inputs: list[jt.Var], name: str, arguments: str) -> jt.Var:
        source = f"jseg_mean_difference::{name}{self.kind}({arguments});"
        return jt.code(shape, "float32", inputs, cpu_header=include_headers(*_HEADERS), cpu_src=source)
