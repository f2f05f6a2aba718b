"""Plain Jittor activations, which document the fused kernels and replace them where none applies."""

from jseg.runtime.backend import jt, nn


def quick_gelu(x: jt.Var) -> jt.Var:
    """Computes x · sigmoid(1.702 x), the activation of CLIP's transformers."""
    return x * jt.sigmoid(1.702 * x)


def bias_quick_gelu_reference(x: jt.Var, bias: jt.Var) -> jt.Var:
    """Computes quick_gelu(x + bias)."""
    return quick_gelu(x + bias)


def bias_gelu_reference(x: jt.Var, bias: jt.Var) -> jt.Var:
    """t · (1 + erf(t / √2)) / 2 with t = x + bias, computed in float32.

    In 16 bits 1 + erf would cancel: at t = -2 a tenth of the value is lost in bfloat16.
    """
    t = x.float32() + bias.float32()
    return (t * 0.5 * (1 + (t * 0.5**0.5).erf())).cast(x.dtype)


def bias_relu_reference(x: jt.Var, bias: jt.Var) -> jt.Var:
    """Computes max(x + bias, 0)."""
    return nn.relu(x + bias)
