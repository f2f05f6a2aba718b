"""Strict loading of arrays into the parameters of a module."""

from collections.abc import Collection, Mapping

import numpy as np

from jseg.names import difference, shortened
from jseg.ops import set_value
from jseg.runtime.backend import nn


def load_arrays_into(
    module: nn.Module, arrays: Mapping[str, np.ndarray], source: str, without: Collection[str] = ()
) -> None:
    """Loads the array of the same name, as float32, into every parameter of `module`.

    Args:
        module: module whose parameters are named as in `module.named_parameters()`.
        arrays: name -> array, exactly one for each parameter.
        source: name of the arrays' origin for error messages, e.g. the file.
        without: names of parameters that keep their values.

    Raises:
        ValueError: if names are missing or left over, or shapes differ. The message lists both sides.
    """
    parameters = {name: var for name, var in module.named_parameters() if name not in without}
    missing, unexpected = difference(parameters, arrays)
    if missing or unexpected:
        raise ValueError(
            f"{source} does not match this model: missing {shortened(missing)}; "
            f"unknown {shortened(unexpected)}"
        )
    wrong = [
        f"{name} {tuple(arrays[name].shape)} instead of {tuple(var.shape)}"
        for name, var in parameters.items()
        if tuple(arrays[name].shape) != tuple(var.shape)
    ]
    if wrong:
        raise ValueError(f"{source} has tensors of other sizes than this model: {shortened(wrong)}")
    for name, var in parameters.items():
        set_value(var, arrays[name])


def arrays_of(module: nn.Module) -> Mapping[str, np.ndarray]:
    """Every parameter of `module` as a NumPy array under its name."""
    return {name: var.numpy() for name, var in module.named_parameters()}
