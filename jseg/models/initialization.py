"""Initial values of what training changes: those that the releases train from, or nearly those they intended.

The training script of CLIP-RC calls `init_weights` of the encoders and not of the head, and so does that of
ZegCLIP. A released head therefore begins with PyTorch's defaults, "released" here. "designed" is close to
what its unused `init_weights` asks for.
"""

from collections.abc import Sequence

import numpy as np

from jseg.models.layers import Linear, is_drawn
from jseg.models.state import arrays_of, load_arrays_into
from jseg.runtime.backend import jt, nn

STARTS = ("released", "designed")


def check_start(init: str) -> None:
    """Refuses a value of an option `init` that is not one of `STARTS`.

    Raises:
        ValueError: names the value and the known ones.
    """
    if init not in STARTS:
        raise ValueError(f"init is '{init}': use one of {', '.join(STARTS)}")


def uniform(shape: Sequence[int], bound: float) -> jt.Var:
    """Values uniform in ±bound, float32, from NumPy's global generator. Within `layers.filled_by_file`,
    zeros."""
    if not is_drawn():
        return jt.zeros(tuple(shape))
    return jt.array(np.random.uniform(-bound, bound, tuple(shape)).astype(np.float32))


def normal(shape: Sequence[int], std: float) -> jt.Var:
    """Normal values that are not truncated, float32; drawn like those of `uniform`."""
    if not is_drawn():
        return jt.zeros(tuple(shape))
    return jt.array((np.random.standard_normal(tuple(shape)) * std).astype(np.float32))


def pytorch_default(module: nn.Module) -> None:
    """Makes weight and bias of every `Linear` in a module uniform in ±1/sqrt(fan-in)."""
    for layer in _linear_layers(module):
        bound = layer.weight.shape[1] ** -0.5
        layer.weight = uniform(layer.weight.shape, bound)
        if layer.bias is not None:
            layer.bias = uniform(layer.bias.shape, bound)


def normal_weights(module: nn.Module, std: float = 0.02) -> None:
    """Makes the weight of every `Linear` in a module normal, not truncated, and its bias zero."""
    for layer in _linear_layers(module):
        layer.weight = normal(layer.weight.shape, std)
        if layer.bias is not None:
            layer.bias = jt.zeros(layer.bias.shape)


def copy_first(layers: nn.Sequential) -> None:
    """Gives every layer of a stream the values of the first, as PyTorch's TransformerDecoder does.

    A layer may lack parts of the first; it has no others.
    """
    if not is_drawn():
        return
    first, *others = list(layers)
    values = arrays_of(first)
    for layer in others:
        load_arrays_into(layer, {name: values[name] for name in arrays_of(layer)}, "the first layer")


def _linear_layers(module: nn.Module) -> list[Linear]:
    return [layer for layer in module.modules() if isinstance(layer, Linear)]
