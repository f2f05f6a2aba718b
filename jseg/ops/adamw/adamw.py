"""Front of the AdamW step: dispatch, plain reference and the call of the kernel."""

from typing import NamedTuple

from jseg.ops.dispatch import include_headers, use_fused
from jseg.runtime.backend import jt

_SOURCE = """
    jseg_adamw::Step step{(float)data["decay"], (float)data["rate"], (float)data["beta1"],
                          (float)data["beta2"], (float)data["root"], (float)data["eps"]};
    jseg_adamw::run(step, in0->num, in0_p, in1_p, in2_p, in3_p, out0_p, out1_p, out2_p);
"""


class Step(NamedTuple):
    """Numbers of one step: p <- decay p - rate m / (root sqrt(v) + eps), with m and v the updated moments.

    Attributes:
        decay: 1 - lr · weight decay. rate: lr / (1 - beta1^n).
        beta1, beta2: of the moments.
        root: 1 / sqrt(1 - beta2^n). eps: added to the root of the second moment.
    """

    decay: float
    rate: float
    beta1: float
    beta2: float
    root: float
    eps: float


def adamw_step(
    parameter: jt.Var, gradient: jt.Var, mean: jt.Var, square: jt.Var, step: Step
) -> tuple[jt.Var, jt.Var, jt.Var]:
    """The new parameter, first and second moment, of the shape of the old ones. No gradient.

    Args:
        parameter, gradient, mean, square: float32 of one shape.
        step: see `Step`.
    """
    if not use_fused(parameter, gradient, mean, square):
        mean = mean * step.beta1 + gradient * (1.0 - step.beta1)
        square = square * step.beta2 + gradient * gradient * (1.0 - step.beta2)
        denominator = jt.sqrt(square) * step.root + step.eps
        return parameter * step.decay - mean / denominator * step.rate, mean, square
    # Scalars are passed in `data`, so that new values do not need a recompilation.
    updated = jt.code(
        [parameter.shape] * 3,
        ["float32"] * 3,
        [parameter, gradient, mean, square],
        cpu_header=include_headers("simd.h", "adamw/adamw_cpu.h"),
        cpu_src=_SOURCE,
        data=step._asdict(),
    )
    return updated[0], updated[1], updated[2]
