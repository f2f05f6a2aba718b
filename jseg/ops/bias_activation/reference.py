"""Plain Jittor activations: the documentation of the fused kernels, and their stand-in where none applies."""

from jseg.runtime.backend import jt, nn


def quick_gelu(x: jt.Var) -> jt.Var:
    """x · sigmoid(1.702 x), the activation of CLIP's transformers."""
    return x * jt.sigmoid(1.702 * x)


def bias_quick_gelu_reference(x: jt.Var, bias: jt.Var) -> jt.Var:
    """quick_gelu(x + bias)."""
    return quick_gelu(x + bias)


def bias_relu_reference(x: jt.Var, bias: jt.Var) -> jt.Var:
    """max(x + bias, 0)."""
    return nn.relu(x + bias)
