"""Front of bias + activation, applied after the first product of a feed-forward layer.

The backward pass recomputes GELU from the product, and reads off the output of ReLU where it is 0, so that
only one of the two is kept.
"""

from collections.abc import Callable

from jseg.ops.bias_activation.reference import (
    bias_gelu_reference,
    bias_quick_gelu_reference,
    bias_relu_reference,
)
from jseg.ops.checks import require_one_floating_type
from jseg.ops.dispatch import include_headers, use_fused
from jseg.ops.dropout.dropout import check_dropout, dropout, dropout_pattern
from jseg.runtime.backend import jt

_HEADERS = ("simd.h", "dropout/dropout_cpu.h", "bias_activation/bias_activation_cpu.h")
_RELU = (
    "jseg_bias_activation::forward<jseg_bias_activation::Relu>(in0_shape0, in0_shape1, in0_p, in1_p, out0_p);"
)
_DROPOUT = """
    jseg_dropout::Dropout dropout(data["rate"], (unsigned)data["seed"], (uint64_t)data["first_row"]);
    jseg_dropout::apply(dropout, in0_shape0, in0_shape1, out0_p, out0_p);
"""
_RELU_BACKWARD = """
    jseg_dropout::Dropout dropout(data["rate"], 0, 0);
    jseg_bias_activation::relu_backward(in0_shape0, in0_shape1, in0_p, dropout.scale, in1_p, out0_p);
"""


def bias_quick_gelu(x: jt.Var, bias: jt.Var) -> jt.Var:
    """Computes t · sigmoid(1.702 t) with t = x + bias, the activation of CLIP's transformers.

    Args:
        x: (..., D) float32, a product without its bias.
        bias: (D,), of the same type as x.

    Returns:
        Same shape as x. Differentiable in x and bias.

    Raises:
        ValueError: if bias differs from x in width or type.
        TypeError: if x or bias is not a Jittor tensor.
    """
    return _apply("QuickGelu", bias_quick_gelu_reference, x, bias)


def bias_gelu(x: jt.Var, bias: jt.Var) -> jt.Var:
    """t · Φ(t) with t = x + bias and Φ the normal distribution, exact GELU; the rest as in
    `bias_quick_gelu`."""
    return _apply("Gelu", bias_gelu_reference, x, bias)


def bias_relu(x: jt.Var, bias: jt.Var, dropout_rate: float = 0.0) -> jt.Var:
    """Computes max(x + bias, 0), and drops elements of it as `jseg.ops.dropout` does.

    Nothing but the result is kept for the backward pass. Arguments, result and errors are otherwise as in
    `bias_quick_gelu` and `dropout`.
    """
    _check(x, bias)
    if dropout_rate:
        check_dropout(x, dropout_rate)
    if not use_fused(x, bias):
        y = bias_relu_reference(x, bias)
        return dropout(y, dropout_rate) if dropout_rate else y
    rate = 0.0 if 0 in x.shape else dropout_rate
    return _FusedRelu(x.shape, rate)(x.reshape(-1, x.shape[-1]), bias).reshape(x.shape)


def _apply(activation: str, reference: Callable[[jt.Var, jt.Var], jt.Var], x: jt.Var, bias: jt.Var) -> jt.Var:
    _check(x, bias)
    if not use_fused(x, bias):
        return reference(x, bias)
    return _FusedActivation(activation)(x.reshape(-1, x.shape[-1]), bias).reshape(x.shape)


def _check(x: jt.Var, bias: jt.Var) -> None:
    require_one_floating_type("an activation of x + bias", x, bias)
    if bias.ndim != 1 or bias.shape[0] != x.shape[-1]:
        raise ValueError(
            f"an activation over {x.shape[-1]} channels got a bias {list(bias.shape)}; "
            f"it expects [{x.shape[-1]}]"
        )


class _FusedActivation(jt.Function):
    def __init__(self, activation: str) -> None:
        self.activation = f"<jseg_bias_activation::{activation}>"

    def execute(self, x: jt.Var, bias: jt.Var) -> jt.Var:
        self.saved = (x, bias)
        source = (
            f"jseg_bias_activation::forward{self.activation}(in0_shape0, in0_shape1, in0_p, in1_p, out0_p);"
        )
        return jt.code(x.shape, x.dtype, [x, bias], cpu_header=include_headers(*_HEADERS), cpu_src=source)

    def grad(self, grad_output: jt.Var) -> tuple[jt.Var, jt.Var]:
        x, bias = self.saved
        source = (
            f"jseg_bias_activation::backward{self.activation}"
            "(in0_shape0, in0_shape1, in0_p, in1_p, in2_p, out0_p);"
        )
        dx = jt.code(
            x.shape, x.dtype, [x, bias, grad_output], cpu_header=include_headers(*_HEADERS), cpu_src=source
        )
        return dx, dx.sum(0)


class _FusedRelu(jt.Function):
    """ReLU and the dropout behind it in one operator: Jittor keeps what lies between two of them.

    shape: of x before its rows are folded.
    """

    def __init__(self, shape: jt.NanoVector, dropout_rate: float) -> None:
        self.data = dropout_pattern(shape, dropout_rate) if dropout_rate else {"rate": 0.0}

    def execute(self, x: jt.Var, bias: jt.Var) -> jt.Var:
        source = _RELU + (_DROPOUT if self.data["rate"] else "")
        self.saved = self._run(source, x, bias)
        return self.saved

    def grad(self, grad_output: jt.Var) -> tuple[jt.Var, jt.Var]:
        dx = self._run(_RELU_BACKWARD, self.saved, grad_output)
        return dx, dx.sum(0)

    def _run(self, source: str, x: jt.Var, y: jt.Var) -> jt.Var:
        headers = include_headers(*_HEADERS)
        return jt.code(x.shape, x.dtype, [x, y], cpu_header=headers, cpu_src=source, data=self.data)
