"""Front of the AdamW step: groups of tensors, dispatch, plain reference and the call of the kernels."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from jseg.ops.cuda import cuda_code, use_cuda_kernels
from jseg.ops.dispatch import include_headers, use_fused
from jseg.runtime.backend import jt

SLOTS = 8
"""Tensors of an operator. Jittor builds one for each number of tensors and of axes. So there is one number of
tensors, and slots that a group does not need are empty."""

GROUP_ELEMENTS = 1 << 20
"""Most elements of a group, unless it is one tensor: all its new values exist beside the old ones."""

# Inputs are the parameters in all slots, then their gradients, means and squares; outputs are the new
# parameters, means and squares. An empty slot has outputs of size 0. Numbers are passed in `data`, so that
# new values do not need a recompilation.
_SOURCE = """
    const int slots = (int)_outputs.size() / 3;
    kernel::Tensors all{};
    for (int i = 0; i < slots; i++) {
        const std::string slot = std::to_string(i);
        if (_outputs[i]->num)
            all.add({(long)_outputs[i]->num, (float)data["decay" + slot], (float)data["rate" + slot],
                     _inputs[i]->ptr<float>(), _inputs[slots + i]->ptr<float>(),
                     _inputs[2 * slots + i]->ptr<float>(), _inputs[3 * slots + i]->ptr<float>(),
                     _outputs[i]->ptr<float>(), _outputs[slots + i]->ptr<float>(),
                     _outputs[2 * slots + i]->ptr<float>()});
    }
    const kernel::Step step{(float)data["beta1"], (float)data["beta2"], (float)data["root"],
                            (float)data["eps"]};
    kernel::run(step, all);
"""
_CPU_SOURCE = "namespace kernel = jseg_adamw;" + _SOURCE
_CUDA_SOURCE = "namespace kernel = jseg_adamw_cuda;" + _SOURCE


class Step(NamedTuple):
    """Numbers of one step: p <- decay p - rate m / (root sqrt(v) + eps), with m and v the updated moments.

    Attributes:
        beta1, beta2: of the moments.
        root: 1 / sqrt(1 - beta2^n). eps: added to the root of the second moment.
    """

    beta1: float
    beta2: float
    root: float
    eps: float


class Rates(NamedTuple):
    """Numbers of one tensor in one step.

    Attributes:
        decay: 1 - lr · weight decay. rate: lr / (1 - beta1^n).
    """

    decay: float
    rate: float


class Tensor(NamedTuple):
    """A float32 parameter with its gradient and moments, of one shape, and its numbers."""

    parameter: jt.Var
    gradient: jt.Var
    mean: jt.Var
    square: jt.Var
    rates: Rates


class Updated(NamedTuple):
    """New values of a tensor."""

    parameter: jt.Var
    mean: jt.Var
    square: jt.Var


def adamw_step(tensors: Sequence[Tensor], step: Step) -> list[Updated]:
    """The new parameters and moments of all tensors, in their order. No gradient."""
    updated: dict[int, Updated] = {}
    for group in _groups(tensors):
        updated.update(zip(group, _step_of_group([tensors[place] for place in group], step)))
    return [updated[place] for place in range(len(tensors))]


def _groups(tensors: Sequence[Tensor]) -> Iterator[list[int]]:
    """Places of tensors with the same number of axes, in order, of at most `SLOTS` and `GROUP_ELEMENTS`."""
    open_groups: dict[int, list[int]] = {}
    elements: dict[int, int] = {}
    for place, tensor in enumerate(tensors):
        axes, size = tensor.parameter.ndim, tensor.parameter.numel()
        group = open_groups.setdefault(axes, [])
        if group and (len(group) == SLOTS or elements[axes] + size > GROUP_ELEMENTS):
            yield group
            group = open_groups[axes] = []
        elements[axes] = size + (elements[axes] if group else 0)
        group.append(place)
    yield from open_groups.values()


def _step_of_group(tensors: Sequence[Tensor], step: Step) -> list[Updated]:
    inputs = [tensor[kind] for kind in range(4) for tensor in tensors]
    on_gpu = use_cuda_kernels(*inputs) and tensors[0].parameter.dtype == "float32"
    if not (on_gpu or use_fused(*inputs)):
        return [_reference(tensor, step) for tensor in tensors]
    return _fused(tensors, step)


def _fused(tensors: Sequence[Tensor], step: Step) -> list[Updated]:
    empty = SLOTS - len(tensors)
    slots = [*tensors, *[tensors[0]] * empty]
    shapes = [tensor.parameter.shape for tensor in tensors] + [[0] * tensors[0].parameter.ndim] * empty
    data = {
        f"{name}{slot}": number
        for slot, tensor in enumerate(tensors)
        for name, number in tensor.rates._asdict().items()
    }
    new = jt.code(
        shapes * 3,
        ["float32"] * (3 * SLOTS),
        [tensor[kind] for kind in range(4) for tensor in slots],
        cpu_header=include_headers("adamw/adamw_step.h", "adamw/adamw_cpu.h"),
        cpu_src=_CPU_SOURCE,
        data={**step._asdict(), **data},
        **cuda_code(("adamw/adamw_step.h", "adamw/adamw_cuda.cuh"), _CUDA_SOURCE, "float32"),
    )
    return [Updated(*new[slot::SLOTS]) for slot in range(len(tensors))]


def _reference(tensor: Tensor, step: Step) -> Updated:
    """The formula in plain operators."""
    gradient = tensor.gradient
    mean = tensor.mean * step.beta1 + gradient * (1.0 - step.beta1)
    square = tensor.square * step.beta2 + gradient * gradient * (1.0 - step.beta2)
    denominator = jt.sqrt(square) * step.root + step.eps
    return Updated(
        tensor.parameter * tensor.rates.decay - mean / denominator * tensor.rates.rate, mean, square
    )
