"""Strict loading of arrays into the parameters of a module."""

from collections.abc import Collection, Mapping

import numpy as np

from jseg.names import difference, shortened
from jseg.runtime.backend import jt, nn


def load_arrays_into(
    module: nn.Module, arrays: Mapping[str, np.ndarray], source: str, without: Collection[str] = ()
) -> None:
    """Give every parameter of `module` the array of its name, as float32.

    Args:
        module: receives the values; parameter names as in `module.named_parameters()`.
        arrays: name -> array, exactly one for each parameter.
        source: what to call the arrays in an error message, e.g. the file they come from.
        without: names of parameters that stay as they are.

    Raises:
        ValueError: names missing or left over, or another shape; lists both sides.
    """
    parameters = {name: var for name, var in module.named_parameters() if name not in without}
    missing, unexpected = difference(parameters, arrays)
    if missing or unexpected:
        raise ValueError(
            f"{source} does not fit this model: missing {shortened(missing)}; "
            f"not known {shortened(unexpected)}"
        )
    wrong = [
        f"{name} {tuple(arrays[name].shape)} instead of {tuple(var.shape)}"
        for name, var in parameters.items()
        if tuple(arrays[name].shape) != tuple(var.shape)
    ]
    if wrong:
        raise ValueError(f"{source} holds tensors of other sizes than this model: {shortened(wrong)}")
    for name, var in parameters.items():
        var.update(jt.array(np.asarray(arrays[name], dtype=np.float32)))


def arrays_of(module: nn.Module) -> Mapping[str, np.ndarray]:
    """Every parameter of `module` as a NumPy array under its name."""
    return {name: var.numpy() for name, var in module.named_parameters()}
